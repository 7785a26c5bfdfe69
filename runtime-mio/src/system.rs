//! What the standard library cannot ask of the system.
//!
//! It is public for whoever has peers without a machine around them: a bench.

use std::net::TcpListener;

/// Gives back what the allocator keeps for later. glibc alone keeps more than a little.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
pub fn release_memory() {
    // SAFETY: malloc_trim(3) asks nothing of its caller and may be called from any thread. It gives the system pages in
    // which no block is in use, so no reference of ours can point into them.
    unsafe { libc::malloc_trim(0) };
}

/// Nothing: other allocators do so by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn release_memory() {}

/// Has connections accepted once their first bytes are there, or after a second without: who speaks HTTP speaks first, and
/// to be woken for the connection and again for its request costs more than to answer it (tcp(7), TCP_DEFER_ACCEPT).
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(crate) fn accept_with_bytes(listener: &TcpListener) {
    use std::os::fd::AsRawFd;

    let seconds: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as the listener is borrowed, and the kernel reads one `c_int` from a pointer
    // that points at one. Refused, it changes nothing, and connections come without their bytes.
    unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

/// Nothing: elsewhere connections come without their bytes.
#[cfg(not(target_os = "linux"))]
pub(crate) fn accept_with_bytes(_: &TcpListener) {}
