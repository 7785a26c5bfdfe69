//! The tests that need more than one package.

mod conformance;
