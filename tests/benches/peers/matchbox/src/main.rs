//! matchbox_signaling as it comes, in its full mesh: the room is the path. Prints where it listens.

use std::net::Ipv4Addr;

use matchbox_signaling::SignalingServer;

// One thread, as all the others here have.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), matchbox_signaling::Error> {
    let mut server = SignalingServer::full_mesh_builder((Ipv4Addr::LOCALHOST, 0)).build();
    let address = server.bind()?;
    println!("listening {}", address.port());
    server.serve().await
}
