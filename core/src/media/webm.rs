//! WebM: VP8 and Opus with their times, in EBML (RFC 8794, RFC 9559).

mod ebml;
mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;
