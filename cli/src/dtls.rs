//! DTLS as str0m has it, but one packet of SCTP passes at a time.
//!
//! Before each datagram that it hands out, str0m asks SCTP for more, and in sctp-proto 0.10.8 that is a walk over all that is
//! in flight: the datagrams of a burst cost as much as the square of their number. A packet that DTLS does not take now,
//! however, str0m keeps, and offers it again before it asks SCTP. So SCTP is asked once for all of them.

use std::sync::Arc;
use std::time::Instant;

use enishi_core::peer::Crypto;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// str0m's cryptography, with this DTLS.
pub fn crypto() -> Crypto {
    let provider = CryptoProvider { dtls_provider: &ByTurns, ..from_feature_flags() };
    Crypto(Some(Arc::new(provider)))
}

/// Makes [`Turns`].
#[derive(Debug)]
struct ByTurns;

impl DtlsProvider for ByTurns {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = from_feature_flags().dtls_provider.new_dtls(certificate, now, version, mtu)?;
        Ok(Box::new(Turns { inner, leaving: false }))
    }
}

/// One end of a connection.
#[derive(Debug)]
struct Turns {
    inner: Box<dyn DtlsInstance>,
    /// The latest output was a datagram: str0m holds it, and will send it before it goes to sleep.
    leaving: bool,
}

impl DtlsInstance for Turns {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(buffer);
        self.leaving = matches!(output, DtlsOutput::Packet(_));
        output
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        if self.leaving { Ok(0) } else { self.inner.send_application_data(data) }
    }

    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_to_wait_until_the_one_before_has_left() {
        let now = Instant::now();
        let [mut client, mut server] = [true, false].map(|active| {
            let certificate = ByTurns.generate_certificate().unwrap();
            let mut end = ByTurns.new_dtls(&certificate, now, DtlsVersion::Dtls12, None).unwrap();
            end.set_active(active);
            end.handle_timeout(now).unwrap();
            end
        });
        for _ in 0..10 {
            carry(&mut client, &mut server);
            carry(&mut server, &mut client);
        }

        let mut buffer = [0; 2048];
        assert_eq!(client.send_application_data(b"one").unwrap(), 3);
        let DtlsOutput::Packet(one) = client.poll_output(&mut buffer) else { panic!("nothing left") };
        server.handle_packet(one).unwrap();
        assert_eq!(client.send_application_data(b"two").unwrap(), 0);
        assert!(matches!(client.poll_output(&mut buffer), DtlsOutput::Timeout(_)));
        assert_eq!(client.send_application_data(b"two").unwrap(), 3);
        carry(&mut client, &mut server);
        assert_eq!(carry(&mut server, &mut client), [b"one", b"two"]);
    }

    /// All outputs of one end: datagrams go to the other, data is returned.
    fn carry(from: &mut Box<dyn DtlsInstance>, to: &mut Box<dyn DtlsInstance>) -> Vec<Vec<u8>> {
        let (mut buffer, mut data) = ([0; 2048], Vec::new());
        loop {
            match from.poll_output(&mut buffer) {
                DtlsOutput::Packet(packet) => to.handle_packet(packet).unwrap(),
                DtlsOutput::ApplicationData(bytes) => data.push(bytes.to_vec()),
                DtlsOutput::Timeout(_) => return data,
                _ => {}
            }
        }
    }
}
