//! Stories of a whole evening.

use enishi_tests::sim;

use crate::contained;

/// The bytes tell a story to the world of [`enishi_tests::sim`]; its judge looks at every step.
///
/// # Panics
/// If an invariant does not hold.
pub fn world(data: &[u8]) {
    contained::run(|| sim::world(data));
}
