fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<haproxy_exporter::HaproxyExporter>(exporter_toolkit::build!())
}
