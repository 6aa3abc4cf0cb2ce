//! An exporter with the faults that authors make, for the toolkit's tests.

#![expect(clippy::panic, reason = "a fault to test")]

use std::sync::Arc;
use std::time::Duration;

use exporter_toolkit::exposition::Kind;
use exporter_toolkit::{
    BoxError, Collector, Desc, Exporter, Families, HistogramValue, ProbeRequest, Target, async_trait,
};
use tokio::time::Instant;

const SOUND: Desc = Desc::gauge("faulty_sound", "Written by the sound collector.", &[]);
const ANY: Desc = Desc::gauge("faulty_<any>", "What the faulty collector writes.", &[]);

/// Flags with the field names of the toolkit's own flags.
#[derive(clap::Args)]
struct Args {
    /// The fault of the collector
    #[arg(long = "faulty.collector", default_value = "none")]
    collector: String,

    /// The fault of the start
    #[arg(long = "faulty.start", default_value = "none")]
    start: String,

    /// Seconds to block for
    #[arg(long = "faulty.seconds", default_value_t = 4.0)]
    seconds: f64,

    #[arg(long = "faulty.path", default_value = "/own")]
    telemetry_path: String,

    #[arg(long = "faulty.level", default_value = "own")]
    log_level: String,
}

struct Faulty {
    target: Arc<Service>,
}

#[derive(Clone)]
struct Service {
    address: String,
    fault: String,
    time: Duration,
}

#[async_trait]
impl Target for Service {
    type Session = Service;

    fn address(&self) -> &str {
        &self.address
    }

    async fn open(&self, _: Instant) -> Result<Service, BoxError> {
        match self.fault.as_str() {
            "open-blocks" => std::thread::sleep(self.time),
            "open-panics" => panic!("no session"),
            _ => {}
        }
        Ok(self.clone())
    }
}

struct Sound;

#[async_trait]
impl Collector<Service> for Sound {
    fn name(&self) -> &'static str {
        "sound"
    }

    fn help(&self) -> &'static str {
        "One sample."
    }

    fn source(&self) -> &'static str {
        "nothing"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SOUND]
    }

    async fn collect(&self, _: &Service, out: &mut Families) -> Result<(), BoxError> {
        // After the faulty collector has begun.
        tokio::time::sleep(Duration::from_millis(20)).await;
        out.push(&SOUND, &[], 1.0);
        Ok(())
    }
}

struct Fault;

#[async_trait]
impl Collector<Service> for Fault {
    fn name(&self) -> &'static str {
        match std::env::var("FAULTY_NAME").as_deref() {
            Ok("twice") => "sound",
            Ok("odd") => "My Col",
            _ => "fault",
        }
    }

    fn help(&self) -> &'static str {
        "The fault of --faulty.collector."
    }

    fn source(&self) -> &'static str {
        "nothing"
    }

    fn families(&self) -> Vec<Desc> {
        let own = std::env::var("FAULTY_NAME").is_ok_and(|name| name == "own-family");
        if own { vec![Desc::gauge("faulty_up", "The toolkit's own.", &[])] } else { vec![ANY] }
    }

    async fn collect(&self, service: &Service, out: &mut Families) -> Result<(), BoxError> {
        let gauge = |name| Desc::gauge(name, "A gauge.", &[]);
        out.push(&gauge("faulty_before"), &[], 1.0);
        match service.fault.as_str() {
            "blocks" => std::thread::sleep(service.time),
            "parses" => {
                let until = std::time::Instant::now() + service.time;
                while std::time::Instant::now() < until {
                    std::hint::black_box(0);
                }
            }
            "panics" => panic!("no such\nrow"),
            "declares-twice" => {
                out.push(&Desc::gauge("faulty_g", "G.", &["l"]), &["1"], 1.0);
                out.push(&Desc::gauge("faulty_g", "G.", &["m"]), &["2"], 2.0);
                out.push(&Desc::counter("faulty_g", "G.", &["l"]), &["3"], 3.0);
            }
            "series" => {
                let value = HistogramValue { buckets: vec![(1.0, 3)], sum: 3.0, count: 3 };
                out.family(&Desc::histogram("faulty_x", "X.", &[])).push_histogram(&[], value);
                for name in ["faulty_x_count", "faulty_x_sum", "faulty_x_bucket", "faulty_x_created"] {
                    out.push(&gauge(name), &[], 7.0);
                }
            }
            "own" => {
                out.push(&gauge("faulty_up"), &[], 42.0);
                out.push(&Desc::gauge("faulty_health_status", "Its own.", &["x"]), &["y"], 0.5);
                out.push(&Desc::gauge("faulty_exporter_collector_success", "Its own.", &["x"]), &["y"], 0.5);
            }
            "counters" => {
                out.push(&Desc::counter("faulty_nan_total", "NaN.", &[]), &[], f64::NAN);
                out.push(&Desc::counter("faulty_negative_total", "Negative.", &[]), &[], -5.0);
            }
            "names" => {
                out.push(&Desc::gauge("faulty_label", "L.", &["a-b"]), &["secret"], 1.0);
                out.push(&Desc::gauge("faulty_bad-name", "N.", &["a"]), &["secret"], 1.0);
                out.push(&Desc::gauge("faulty_number", "N.", &["a"]), &["secret", "2"], 1.0);
            }
            "samples" => {
                let family = out.family(&Desc::gauge("faulty_many", "Many.", &["n"]));
                (0..200_000).for_each(|n| family.push(&[&n.to_string()], 1.0));
            }
            "families" => (0..200_000).for_each(|n| {
                let desc = Desc::dynamic(Kind::Gauge, format!("faulty_{n}"), "One of many.", &[]);
                out.push(&desc, &[], 1.0);
            }),
            "bytes" => out.push(&Desc::gauge("faulty_large", "Large.", &["l"]), &[&"x".repeat(100 << 20)], 1.0),
            _ => {}
        }
        Ok(())
    }
}

impl Exporter for Faulty {
    const PROGRAM: &'static str = "faulty-exporter";
    const NAMESPACE: &'static str = "faulty";
    const ABOUT: &'static str = "An exporter with faults, for tests.";
    const DEFAULT_PORT: u16 = 9999;
    const PARAMETERS: &'static [&'static str] = &["fault"];
    type Args = Args;
    type Target = Service;

    fn new(args: Args) -> Result<Self, BoxError> {
        if args.start == "panics" {
            panic!("no start");
        }
        if (args.telemetry_path.as_str(), args.log_level.as_str()) != ("/own", "own") {
            return Err("the shared flags took the exporter's own".into());
        }
        let time = Duration::from_secs_f64(args.seconds);
        Ok(Self { target: Arc::new(Service { address: "main:1".to_owned(), fault: args.collector, time }) })
    }

    fn collectors() -> Vec<Box<dyn Collector<Service>>> {
        vec![Box::new(Fault), Box::new(Sound)]
    }

    fn target(&self) -> Arc<Service> {
        Arc::clone(&self.target)
    }

    fn probe(&self, request: &ProbeRequest<'_>) -> Result<Service, BoxError> {
        let target = request.target;
        assert_ne!(target, "panic", "no such target");
        let fault = request.parameter("fault").unwrap_or("none");
        Ok(Service { address: target.to_owned(), fault: fault.to_owned(), time: self.target.time })
    }
}

fn main() -> std::process::ExitCode {
    let build = exporter_toolkit::Build { version: "2.3.4", revision: "0123abc" };
    exporter_toolkit::run::<Faulty>(build)
}
