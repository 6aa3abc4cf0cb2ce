fn main() -> std::process::ExitCode {
    exporter_toolkit::run::<backup_exporter::BackupExporter>(exporter_toolkit::build!())
}
