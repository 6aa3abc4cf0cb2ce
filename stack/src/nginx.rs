//! The patients' page: compose's nginx with this environment's addresses.

use std::fs;

use crate::error::Error;
use crate::launch::{self, Launch};
use crate::layout::Layout;

/// Ports of this layout.
pub struct Ports {
    pub page: u16,
    pub status: u16,
    pub api: u16,
}

pub fn launch(layout: &Layout, ports: &Ports) -> Result<Launch, Error> {
    let (source, configuration) = (layout.repository().join("compose/nginx"), layout.config("nginx"));
    let environment = configuration.join("environment");
    // The only directory that nginx writes to.
    let prefix = layout.run("nginx");
    for directory in [&environment, &prefix] {
        fs::create_dir_all(directory).map_err(Error::file("cannot create", directory))?;
    }
    for name in ["nginx.conf", "headers.conf", "proxy.conf"] {
        fs::copy(source.join(name), configuration.join(name)).map_err(Error::file("cannot copy", source.join(name)))?;
    }
    for (name, text) in [
        // One process: `stack kill` ends the listener with it, and it stays the user who can read the checkout.
        ("main.conf", "master_process off;\n".to_owned()),
        ("http.conf", format!("map \"\" $api {{ default 127.0.0.1:{}; }}\n", ports.api)),
        ("server.conf", format!("listen 127.0.0.1:{};\nroot \"{}\";\n", ports.page, source.join("html").display())),
        ("status.conf", format!("listen 127.0.0.1:{};\nroot \"{}\";\n", ports.status, layout.repository().display())),
        // There is no Grafana: each dashboard has a static page.
        (
            "dashboards.conf",
            "location ~ ^/d/(?<uid>[\\w-]+)$ {\n    default_type text/html;\n    try_files /grafana/pages/$uid.html =404;\n}\n"
                .to_owned(),
        ),
    ] {
        fs::write(environment.join(name), text).map_err(Error::file("cannot write", environment.join(name)))?;
    }
    launch::nginx(&prefix, &configuration.join("nginx.conf"))
}
