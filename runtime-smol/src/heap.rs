//! Free memory goes back to the system.

/// Gives back what the allocator keeps for later. glibc alone keeps more than a little.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub(crate) fn release() {
    // SAFETY: malloc_trim(3) asks nothing of its caller and may be called from any thread. It gives the system pages in
    // which no block is in use, so no reference of ours can point into them.
    unsafe { libc::malloc_trim(0) };
}

/// Nothing: other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn release() {}
