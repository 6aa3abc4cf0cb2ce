fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<nginx_exporter::NginxExporter>(exporter_toolkit::build!())
}
