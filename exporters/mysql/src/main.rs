use std::process::ExitCode;

fn main() -> ExitCode {
    exporter_toolkit::run::<mysql_exporter::MysqlExporter>(exporter_toolkit::build!())
}
