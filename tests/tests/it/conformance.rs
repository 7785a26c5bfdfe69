//! What every driver must do, seen from both sides: by a scripted machine inside and by plain sockets outside.
//!
//! The cases are written once and compiled for each driver; a driver is one file that names it.

mod client;
mod mio;
mod scripted;
mod smol;
