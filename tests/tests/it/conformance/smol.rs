//! The suite on smol.

use enishi_runtime_smol as runtime;

#[path = "cases.rs"]
mod cases;
#[path = "dialling.rs"]
mod dialling;
#[path = "files.rs"]
mod files;
#[path = "rig.rs"]
mod rig;
