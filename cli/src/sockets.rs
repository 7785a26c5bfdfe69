//! The sockets that a machine works with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use if_addrs::IfOperStatus;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are accepted: a restart brings all clients back at once.
const BACKLOG: i32 = 1024;

/// A data channel at full speed overruns the kernel's default of some 200 KiB.
const UDP_BUFFER_BYTES: usize = 4 << 20;

/// Each host candidate is paired with each remote one; more than a machine with containers has are of no use.
const MAX_HOSTS: usize = 16;

/// Public addresses far away, of a root name server: what goes there takes the default route. Nothing is sent. Those for
/// documentation would not do, for laboratories have them on their own networks.
const FAR_AWAY: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 41, 0, 4)), 53),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30)), 53),
];

/// Listens for TCP connections.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be given, and mean what they say.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Binds one UDP socket to each usable address of this machine: the host candidates. Loopback is among them if it is
/// asked for, or if there is nothing else.
///
/// # Errors
/// The list of interfaces cannot be had, or not one socket can be bound; the last reason.
pub fn bind_hosts(loopback: bool) -> io::Result<Vec<UdpSocket>> {
    let mut hosts = addresses()?;
    if loopback || hosts.is_empty() {
        hosts.extend([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    }
    bind_all(hosts)
}

/// Binds one UDP socket of each family to the address that the default route goes out from: what a remote peer learns
/// anyhow when we speak with it (RFC 8828, mode 2).
///
/// # Errors
/// There is no default route, or no socket can be bound.
pub fn bind_default_route() -> io::Result<Vec<UdpSocket>> {
    let hosts: Vec<IpAddr> = FAR_AWAY.into_iter().filter_map(source_towards).collect();
    if hosts.is_empty() {
        return Err(io::Error::other("this machine has no default route"));
    }
    bind_all(hosts)
}

/// The address that the kernel would send from. Connecting a UDP socket sends nothing.
fn source_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any = if remote.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified() && !source.is_loopback()).then_some(source)
}

fn bind_all(hosts: Vec<IpAddr>) -> io::Result<Vec<UdpSocket>> {
    let mut sockets = Vec::new();
    let mut error = None;
    for host in hosts {
        // An address may be tentative or just gone, and IPv6 may be off: the others still serve.
        match bind_udp(host) {
            Ok(socket) => sockets.push(socket),
            Err(reason) => error = Some(reason),
        }
    }
    if sockets.is_empty() {
        return Err(error.unwrap_or_else(|| io::Error::other("this machine has no network address")));
    }
    Ok(sockets)
}

/// The addresses under which others can reach this machine: not loopback, not link-local IPv6, not of interfaces that
/// are down.
///
/// # Errors
/// The operating system does not tell.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()?
        .into_iter()
        .filter(|interface| {
            !matches!(
                interface.oper_status,
                IfOperStatus::Down | IfOperStatus::NotPresent | IfOperStatus::LowerLayerDown
            )
        })
        .map(|interface| interface.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MAX_HOSTS);
    Ok(addresses)
}

fn bind_udp(host: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(host, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel cuts these down to its own maximum; less is slower, not wrong.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_can_be_taken_only_once() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = listen(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn the_default_route_gives_one_address_of_a_family_at_most() {
        // A machine may have no route at all.
        let sockets = bind_default_route().unwrap_or_default();
        let hosts: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let known = addresses().unwrap();
        assert!(hosts.iter().all(|host| known.contains(&host.ip())), "{hosts:?} of {known:?}");
        assert!(hosts.iter().filter(|host| host.is_ipv4()).count() <= 1, "{hosts:?}");
        assert!(hosts.iter().filter(|host| host.is_ipv6()).count() <= 1, "{hosts:?}");
    }

    #[test]
    fn host_candidates_are_addresses_one_can_send_to() {
        let sockets = bind_hosts(true).unwrap();
        let hosts: Vec<SocketAddr> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert!(hosts.iter().any(|host| host.ip() == Ipv4Addr::LOCALHOST), "{hosts:?}");
        assert!(hosts.iter().all(|host| !host.ip().is_unspecified() && host.port() != 0), "{hosts:?}");
    }
}
