//! Everything that needs more than one package: one binary, because linking sixty takes longer than running them.

mod e2e;
mod interop;
