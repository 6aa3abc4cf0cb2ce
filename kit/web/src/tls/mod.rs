//! `tls_server_config` of the web configuration: the server's certificate, client certificates, protocol parameters.

mod clients;
mod pem;
mod renewal;
mod settings;
#[cfg(test)]
mod tests;

pub(crate) use renewal::Tls;
pub(crate) use settings::TlsSection;
