use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use serde::{Serializer, ser::SerializeMap};
use serde_json::Value;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_log::NormalizeEvent;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::output::Output;
use crate::chain;

/// Keys that every record has; a field of one of these names is written with `field_` before it.
const STANDARD: [&str; 3] = ["timestamp", "level", "target"];

/// Writes each event as one line of JSON: `timestamp`, `level`, `message`, `target`, then the fields of the event and of the spans
/// around it, all on one level. No key is there twice: an event's field hides that of a span, an inner span's that of an outer one.
pub(super) struct JsonLayer {
    output: Arc<Output>,
}

impl JsonLayer {
    pub(super) fn new(output: Arc<Output>) -> Self {
        Self { output }
    }
}

/// Fields by name, in the order in which they came.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        // What the bridge from the log crate adds is in the normalized metadata.
        if name.starts_with("log.") {
            return;
        }
        let name = match name.strip_prefix("r#").unwrap_or(name) {
            name if STANDARD.contains(&name) => format!("field_{name}"),
            name => name.to_owned(),
        };
        let value = value.into();
        match self.0.iter_mut().find(|(present, _)| *present == name) {
            Some((_, present)) => *present = value,
            None => self.0.push((name, value)),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(present, _)| present == name)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field, chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        // From the innermost span on.
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(of_span)) = span.extensions().get::<Fields>() {
                let new: Vec<_> = of_span.iter().filter(|(name, _)| !fields.has(name)).cloned().collect();
                fields.0.extend(new);
            }
        }
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        // Strings and numbers can always be written.
        if let Ok(record) = record(metadata.level().as_str(), metadata.target(), fields) {
            self.output.write(&record);
        }
    }
}

fn record(level: &str, target: &str, Fields(fields): Fields) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut line);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &humantime::format_rfc3339_micros(SystemTime::now()).to_string())?;
    map.serialize_entry("level", level)?;
    let (message, others): (Vec<_>, Vec<_>) = fields.into_iter().partition(|(name, _)| name == "message");
    let message = message.into_iter().next().map_or(Value::from(""), |(_, message)| message);
    map.serialize_entry("message", &message)?;
    map.serialize_entry("target", target)?;
    for (name, value) in &others {
        map.serialize_entry(name, value)?;
    }
    SerializeMap::end(map)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use tracing::{info, info_span, subscriber::with_default, warn};
    use tracing_subscriber::{Registry, layer::SubscriberExt};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("open the store")]
    struct Outer(#[source] io::Error);

    /// What is logged meanwhile.
    fn lines(log: impl FnOnce()) -> Vec<String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Arc::new(Output::append(file.path()).unwrap());
        with_default(Registry::default().with(JsonLayer::new(output)), log);
        fs::read_to_string(file.path()).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_record_has_standard_keys_and_its_fields_on_one_level() {
        let lines = lines(|| {
            let _outer = info_span!("task", task = "sync", edge = "outer").entered();
            let _inner = info_span!("session", edge = "edge-1").entered();
            let error = Outer(io::Error::other("disk full"));
            let revision = 7_u64;
            warn!(revision, load = 0.5, ok = true, error = &error as &dyn Error, "not \"kept\"");
        });
        let [line] = &lines[..] else { panic!("one line: {lines:?}") };
        let record: Value = serde_json::from_str(line).unwrap();
        let timestamp = record["timestamp"].as_str().unwrap();
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
        assert!(line.starts_with("{\"timestamp\":"), "{line}");
        let rest = line.split_once("\"level\"").unwrap().1;
        assert_eq!(
            rest,
            ":\"WARN\",\"message\":\"not \\\"kept\\\"\",\"target\":\"switchyard_process::log::json::tests\",\
             \"revision\":7,\"load\":0.5,\"ok\":true,\"error\":\"open the store: disk full\",\"edge\":\"edge-1\",\
             \"task\":\"sync\"}"
        );
    }

    #[test]
    fn no_key_is_there_twice() {
        let lines = lines(|| {
            let span = info_span!("session", revision = 1, edge = tracing::field::Empty);
            span.record("edge", "a");
            span.record("edge", "b");
            let _entered = span.entered();
            info!(revision = 2, level = "high", target = "x", timestamp = 3, "message");
        });
        for key in ["timestamp", "level", "message", "target", "revision", "edge", "field_level", "field_target"] {
            assert_eq!(lines[0].matches(&format!("\"{key}\":")).count(), 1, "{key} in {}", lines[0]);
        }
        assert!(lines[0].contains("\"revision\":2") && lines[0].contains("\"edge\":\"b\""), "{}", lines[0]);
    }
}
