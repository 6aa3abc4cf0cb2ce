//! The page at `/`.

use hyper::StatusCode;

use crate::build::Build;
use crate::exporter::Exporter;
use crate::gather::Gatherer;
use crate::response::{Body, response};

pub(crate) fn landing_page<E: Exporter>(gatherer: &Gatherer<E>, telemetry_path: &str, build: Build) -> Body {
    let collectors: Vec<_> = gatherer.enabled_names().collect();
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{program}</title>\n\
         <style>body{{font-family:sans-serif;max-width:42rem;margin:3rem auto;line-height:1.5}}</style></head>\n\
         <body>\n<h1>{program}</h1>\n<p>{about}</p>\n<ul>\n\
         <li><a href=\"{metrics}\">{metrics}</a>: metrics of {target}</li>\n\
         <li><code>/probe?target=ADDRESS</code>: metrics of another target</li>\n\
         <li><a href=\"/health\">/health</a>: health status and its reasons</li>\n\
         <li><a href=\"/-/healthy\">/-/healthy</a>, <a href=\"/-/ready\">/-/ready</a>: the exporter itself</li>\n\
         <li><code>POST /-/reload</code>: reload passwords, certificates and users</li>\n\
         </ul>\n<p>Collectors: {collectors}.</p>\n<p>Version {version}, revision {revision}.</p>\n</body>\n</html>\n",
        program = E::PROGRAM,
        about = escape_html(E::ABOUT),
        metrics = escape_html(telemetry_path),
        target = escape_html(&gatherer.target_address()),
        collectors = collectors.join(", "),
        version = build.version,
        revision = build.revision,
    );
    response(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
