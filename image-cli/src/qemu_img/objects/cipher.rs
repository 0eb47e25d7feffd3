//! TLS for an NBD connection: rustls, without a socket.

use std::io::{self, Read, Write};
use std::sync::Arc;

use image_core::nbd::{TlsCredentials, TlsSession};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

/// Stands in for the name of a server that is trusted without one; it is not sent.
const NOBODY: &str = "server.invalid";

/// Credentials for a server of one name.
#[derive(Debug)]
pub(super) struct ForHost {
    config: Arc<ClientConfig>,
    host: Option<String>,
}

impl ForHost {
    /// For the server called `host`; for any where none is verified.
    pub(super) fn new(config: Arc<ClientConfig>, host: Option<&str>, verifies: bool) -> Self {
        let host = match host {
            None if verifies => None,
            Some(host) if verifies => Some(host.to_owned()),
            _ => Some(NOBODY.to_owned()),
        };
        Self { config, host }
    }
}

impl TlsCredentials for ForHost {
    fn begin(&self) -> io::Result<Box<dyn TlsSession>> {
        let unnamed = || io::Error::new(io::ErrorKind::InvalidData, "No hostname for certificate validation");
        let host = self.host.as_deref().ok_or_else(unnamed)?;
        let unusable = |_| {
            let words = format!("Certificate does not match the hostname {host}");
            io::Error::new(io::ErrorKind::InvalidData, words)
        };
        let name = ServerName::try_from(host.to_owned()).map_err(unusable)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(refused)?;
        Ok(Box::new(Tls { connection }))
    }
}

fn refused(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One side of a connection.
struct Tls {
    connection: ClientConnection,
}

impl TlsSession for Tls {
    fn is_negotiating(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn take_in(&mut self, mut received: &[u8]) -> io::Result<usize> {
        let len = self.connection.read_tls(&mut received)?;
        self.connection.process_new_packets().map_err(refused)?;
        Ok(len)
    }

    fn decrypted(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self.connection.reader().read(buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.writer().write(bytes)
    }

    fn to_send(&mut self, unsent: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(unsent)?;
        }
        Ok(())
    }
}

/// Trusts every server that has the key to the certificate which it shows: `verify-peer=off`.
#[derive(Debug)]
pub(super) struct AnyPeer {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyPeer {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyPeer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
