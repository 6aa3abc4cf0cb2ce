//! TLS as the keys of an option file describe it: those of MySQL's programs, of MariaDB's, and of mysqld_exporter.

use std::path::PathBuf;

use rustls::{SupportedProtocolVersion, version};

use crate::error::ConfigError;
use crate::my_cnf::Options;
use crate::wire::{ALL_VERSIONS, Tls, Verify};

/// Keys that restrict whom or what a client accepts. Without their effect, a session would be less safe than written.
const NOT_SUPPORTED: [(&str, &str); 15] = [
    ("ssl-cipher", CIPHERS),
    ("ssl-crl", REVOCATION),
    ("ssl-crlpath", REVOCATION),
    ("ssl-fips-mode", CIPHERS),
    ("ssl-fp", FINGERPRINT),
    ("ssl-fplist", FINGERPRINT),
    ("ssl-passphrase", PASSPHRASE),
    ("tls-ciphersuites", CIPHERS),
    ("tls-fp", FINGERPRINT),
    ("tls-fplist", FINGERPRINT),
    ("tls-max-version", "not supported: use tls-version=TLSv1.2,TLSv1.3 or one of them"),
    ("tls-min-version", "not supported: use tls-version=TLSv1.2,TLSv1.3 or one of them"),
    ("tls-passphrase", PASSPHRASE),
    ("tls-peer-fp", FINGERPRINT),
    ("tls-sni-servername", "not supported: use tls-server-name"),
];
const CIPHERS: &str = "not supported: remove it, the cipher suites are those of TLS 1.2 and 1.3 with forward secrecy";
const REVOCATION: &str = "not supported: remove it, revocation lists are not read";
const FINGERPRINT: &str = "not supported: use ssl-ca with the server's certificate or its authority";
const PASSPHRASE: &str = "not supported: use an unencrypted key file that only the exporter can read";

const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// The value of `ssl-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl Mode {
    fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyIdentity)
    }
}

/// How to connect; `None` in cleartext.
pub(crate) fn tls(options: &Options, insecure_skip_verify: bool) -> Result<Option<Tls>, ConfigError> {
    for (key, reason) in NOT_SUPPORTED {
        if options.get(key).is_some() {
            return Err(options.invalid(key, reason));
        }
    }
    // Opened here so that a wrong path is an error at the start; it is read at each login.
    let file = |key| {
        let read = |path: &str| std::fs::File::open(path).map(|_| PathBuf::from(path));
        let path = options.get(key).filter(|path| !path.is_empty()).map(read).transpose();
        path.map_err(|error| options.invalid(key, error.to_string()))
    };
    let identity = match (file("ssl-cert")?, file("ssl-key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(options.invalid("ssl-cert", "ssl-key is missing")),
        (None, Some(_)) => return Err(options.invalid("ssl-key", "ssl-cert is missing")),
    };
    let mut tls = Tls {
        optional: false,
        verify: Verify::Nothing,
        ca: file("ssl-ca")?,
        ca_directory: file("ssl-capath")?,
        identity,
        server_name: options.get("tls-server-name").map(str::to_owned),
        versions: versions(options)?,
    };
    let has_authority = tls.ca.is_some() || tls.ca_directory.is_some();
    let mode = mode(options, &tls, has_authority, insecure_skip_verify)?;
    (tls.optional, tls.verify) = match mode {
        Mode::Disabled => return Ok(None),
        Mode::Preferred => (true, Verify::Nothing),
        Mode::Required => (false, Verify::Nothing),
        Mode::VerifyCa => (false, Verify::Chain),
        Mode::VerifyIdentity => (false, Verify::Name),
    };
    Ok(Some(tls))
}

fn mode(options: &Options, tls: &Tls, has_authority: bool, insecure_skip_verify: bool) -> Result<Mode, ConfigError> {
    let (enabled, skip) = match options.get("tls") {
        None => (None, false),
        Some("false") => (Some(false), false),
        Some("true") => (Some(true), false),
        Some("skip-verify") => (Some(true), true),
        Some(_) => return Err(options.invalid("tls", "expected true, false or skip-verify")),
    };
    // mysqld_exporter's option lacks a letter; both spellings are accepted.
    let skip = skip
        || options.switch("ssl-skip-verfication")?.unwrap_or(false)
        || options.switch("ssl-skip-verification")?.unwrap_or(false);
    let enabled = enabled.or(options.switch("ssl")?);
    let verify_name = options.switch("ssl-verify-server-cert")?;

    if let Some(mode) = explicit(options)? {
        // Whoever wrote two keys that contradict each other has to choose.
        let contradicts =
            |key: &str| Err(options.invalid("ssl-mode", format!("it contradicts {key}; remove one of them")));
        return match mode {
            mode if mode.verifies() && skip => contradicts("tls=skip-verify or ssl-skip-verification"),
            Mode::Disabled | Mode::Preferred if enabled == Some(true) => contradicts("tls or ssl"),
            mode if mode != Mode::Disabled && enabled == Some(false) => contradicts("tls or ssl"),
            mode if mode != Mode::VerifyIdentity && verify_name == Some(true) => contradicts("ssl-verify-server-cert"),
            // An authority that verifies nothing would be a trap.
            Mode::Preferred | Mode::Required if has_authority && !skip => Ok(Mode::VerifyCa),
            mode => Ok(mode),
        };
    }
    if skip || insecure_skip_verify {
        return Ok(Mode::Required);
    }
    let is_configured = has_authority || tls.identity.is_some() || tls.server_name.is_some();
    Ok(match (enabled, verify_name) {
        (Some(false), _) if !is_configured => Mode::Disabled,
        (_, Some(true)) => Mode::VerifyIdentity,
        (_, Some(false)) if has_authority => Mode::VerifyCa,
        (Some(true), Some(false)) => Mode::Required,
        // MariaDB's `ssl` alone; mysqld_exporter's `tls=true` verifies.
        (Some(true), None) if options.get("tls").is_none() && !is_configured => Mode::Required,
        (Some(true), None) => Mode::VerifyIdentity,
        _ if is_configured => Mode::VerifyIdentity,
        _ => Mode::Disabled,
    })
}

fn explicit(options: &Options) -> Result<Option<Mode>, ConfigError> {
    let Some(text) = options.get("ssl-mode") else { return Ok(None) };
    match text.to_ascii_uppercase().as_str() {
        "DISABLED" => Ok(Some(Mode::Disabled)),
        "PREFERRED" => Ok(Some(Mode::Preferred)),
        "REQUIRED" => Ok(Some(Mode::Required)),
        "VERIFY_CA" => Ok(Some(Mode::VerifyCa)),
        "VERIFY_IDENTITY" => Ok(Some(Mode::VerifyIdentity)),
        _ => Err(options.invalid("ssl-mode", "expected DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")),
    }
}

/// Of a list such as `TLSv1.1,TLSv1.2`, those that are supported.
fn versions(options: &Options) -> Result<&'static [&'static SupportedProtocolVersion], ConfigError> {
    let Some(list) = options.get("tls-version") else { return Ok(ALL_VERSIONS) };
    let has = |name: &str| list.split(',').any(|version| version.trim().eq_ignore_ascii_case(name));
    match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, true) => Ok(ALL_VERSIONS),
        (true, false) => Ok(TLS12),
        (false, true) => Ok(TLS13),
        (false, false) => Err(options.invalid("tls-version", "expected TLSv1.2, TLSv1.3 or both")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::my_cnf::{CLIENT, Sections};

    fn read(lines: &str, flag: bool) -> Result<Option<Tls>, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pem = file.path().display();
        std::fs::write(file.path(), format!("[client]\n{}\n", lines.replace("PEM", &pem.to_string()))).unwrap();
        tls(&Sections::read(file.path().to_owned(), None)?.options(CLIENT, &|_| None)?, flag)
    }

    /// In short: what is verified, and whether it is optional.
    fn mode(lines: &str) -> Option<(Verify, bool)> {
        read(&lines.replace(' ', "\n"), false).unwrap().map(|tls| (tls.verify, tls.optional))
    }

    #[test]
    fn each_mode_is_obeyed() {
        let nothing = Some((Verify::Nothing, false));
        let chain = Some((Verify::Chain, false));
        let name = Some((Verify::Name, false));
        for (lines, expected) in [
            ("", None),
            ("ssl-mode=DISABLED", None),
            ("ssl-mode=DISABLED ssl-ca=PEM", None),
            ("ssl_mode=preferred", Some((Verify::Nothing, true))),
            ("ssl-mode=REQUIRED", nothing),
            ("ssl-mode=REQUIRED ssl-ca=PEM", chain),
            ("ssl-mode=PREFERRED ssl-capath=PEM", chain),
            ("ssl-mode=REQUIRED ssl-ca=PEM tls=skip-verify", nothing),
            ("ssl-mode=VERIFY_CA ssl-ca=PEM", chain),
            ("ssl-mode=VERIFY_IDENTITY", name),
            ("ssl", nothing),
            ("ssl=1 ssl-ca=PEM", name),
            ("skip-ssl", None),
            ("ssl=0", None),
            ("ssl-verify-server-cert", name),
            ("ssl-ca=PEM skip-ssl-verify-server-cert", chain),
            ("ssl skip-ssl-verify-server-cert", nothing),
            ("ssl-ca=PEM", name),
            ("ssl-capath=PEM", name),
            ("ssl-cert=PEM ssl-key=PEM", name),
            ("tls-server-name=db", name),
            ("tls=true", name),
            ("tls=false", None),
            ("tls=false ssl-ca=PEM", name),
            ("tls=skip-verify", nothing),
            ("ssl-ca=PEM ssl-skip-verfication=true", nothing),
        ] {
            assert_eq!(mode(lines), expected, "{lines}");
        }
        assert_eq!(read("", true).unwrap().map(|tls| tls.verify), Some(Verify::Nothing));
        assert_eq!(read("ssl-mode=VERIFY_CA", true).unwrap().map(|tls| tls.verify), Some(Verify::Chain));
    }

    #[test]
    fn versions_are_those_of_the_list_that_are_supported() {
        for (list, expected) in [("TLSv1.2,TLSv1.3", ALL_VERSIONS), ("TLSv1.3", TLS13), ("TLSv1.1, TLSv1.2", TLS12)] {
            let tls = read(&format!("ssl-mode=REQUIRED\ntls-version={list}"), false).unwrap().unwrap();
            assert_eq!(tls.versions, expected, "{list}");
        }
    }

    #[test]
    fn what_can_not_be_obeyed_is_refused_by_name() {
        for (lines, words) in [
            ("ssl-mode=on", "ssl-mode= in [client]"),
            ("ssl-mode=VERIFY_CA\ntls=skip-verify", "contradicts tls=skip-verify"),
            ("ssl-mode=DISABLED\ntls=true", "contradicts tls or ssl"),
            ("ssl-mode=REQUIRED\nskip-ssl", "contradicts tls or ssl"),
            ("ssl-mode=VERIFY_CA\nssl-verify-server-cert", "contradicts ssl-verify-server-cert"),
            ("tls=maybe", "tls= in [client]"),
            ("tls-version=TLSv1.1", "tls-version= in [client]"),
            ("ssl-cert=PEM", "ssl-key is missing"),
            ("ssl-key=PEM", "ssl-cert is missing"),
            ("ssl-ca=/nowhere.pem", "ssl-ca= in [client]"),
        ] {
            let error = read(lines, false).unwrap_err().to_string();
            assert!(error.contains(words), "{lines}: {error}");
        }
        for (key, reason) in NOT_SUPPORTED {
            let error = read(&format!("{key}=x"), false).unwrap_err().to_string();
            assert!(error.contains(&format!("{key}= in [client]")) && error.contains(reason), "{error}");
        }
    }
}
