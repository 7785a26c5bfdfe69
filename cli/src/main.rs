//! The command line of Enishi. Skeleton.

fn main() {}
