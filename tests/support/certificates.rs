//! Certificates for tests, made anew each time and signed by an authority of their own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::support::scratch_dir;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use std::fs;
use std::path::PathBuf;

/// An authority, and a directory with its certificate `ca.pem` and what it has signed: NAME.pem
/// with NAME.key.
pub(crate) struct Authority {
    dir: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// With a certificate of `server`.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let dir = scratch_dir("tls");
        let name = format!("Authority of {}", dir.file_name().unwrap().display());
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let authority = Self { dir, issuer };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority.certify("server", 1);
        authority
    }

    /// Signs a new certificate of `name`, for a host on the loopback.
    pub(crate) fn certify(&self, name: &str, serial_number: u64) {
        let hosts = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(hosts).unwrap();
        params.serial_number = Some(SerialNumber::from(serial_number));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// Writes `crl.pem`, the list of certificates that are good no more.
    pub(crate) fn revoke(&self, serial_numbers: &[u64]) {
        let revoked = serial_numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        fs::write(self.path("crl.pem"), list.pem().unwrap()).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The URL of a listener with the certificate of `server` and, behind an `&`, more keys.
    pub(crate) fn listener(&self, more: &str) -> String {
        let (cert, key) = (self.path("server.pem"), self.path("server.key"));
        let (cert, key) = (cert.display(), key.display());
        format!("tls://127.0.0.1:0?tls.cert={cert}&tls.key={key}{more}")
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
