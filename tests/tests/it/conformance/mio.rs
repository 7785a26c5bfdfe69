//! The suite on mio.

use enishi_runtime_mio as runtime;

#[path = "cases.rs"]
mod cases;
#[path = "dialling.rs"]
mod dialling;
#[path = "rig.rs"]
mod rig;
