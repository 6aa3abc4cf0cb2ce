fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<redis_exporter::RedisExporter>(exporter_toolkit::build!())
}
