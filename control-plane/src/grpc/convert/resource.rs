//! Resources that the messages of the API stand for: one pair of functions for all kinds.

use std::sync::LazyLock;

use pbjson_types::{FieldMask, Timestamp};
use prost::Message;
use switchyard_proto::{
    resource::{Defaults, Patch, Resource, new as parse_new},
    schema::{Filter, Mask, descriptor},
    v1 as wire,
    vocab::{InvalidResourceName, Revision},
};

use super::{etag, parse_etag, timestamp};
use crate::{app::AppError, model::Stored};

/// A message of a resource: what every one of them has, whatever it is about.
pub(in crate::grpc) trait ApiMessage: Message + prost::Name + Default + 'static {
    /// What requests call it: `domain`.
    const FIELD: &str;

    /// The filter that takes its secrets away.
    fn without_secrets() -> &'static Filter;
    /// The name of the resource.
    fn name(&self) -> &str;
    /// The etag that the resource must have.
    fn etag(&self) -> &str;
    /// Says how the resource is stored.
    fn set_metadata(&mut self, revision: Revision, etag: String, create_time: Timestamp, update_time: Timestamp);
}

macro_rules! api_message {
    ($($message:ident = $field:literal),+ $(,)?) => {
        $(impl ApiMessage for wire::$message {
            const FIELD: &str = $field;

            fn without_secrets() -> &'static Filter {
                static FILTER: LazyLock<Filter> =
                    LazyLock::new(|| Filter::without_secrets(&descriptor::<wire::$message>()));
                &FILTER
            }

            fn name(&self) -> &str {
                &self.name
            }

            fn etag(&self) -> &str {
                &self.etag
            }

            fn set_metadata(&mut self, revision: Revision, etag: String, create_time: Timestamp, update_time: Timestamp) {
                self.revision = revision.0;
                self.etag = etag;
                self.create_time = Some(create_time);
                self.update_time = Some(update_time);
            }
        })+
    };
}

api_message! {
    Backend = "backend",
    DnsProvider = "dns_provider",
    Domain = "domain",
    Issuer = "issuer",
    Service = "service",
}

/// A resource as a message: with its defaults, without its secrets, and with how it is stored.
pub(in crate::grpc) fn message<R: Resource<Message: ApiMessage>>(stored: &Stored<R>) -> R::Message {
    let Stored { value, revision, created_at, updated_at } = stored;
    let encoded = value.message(Defaults::Written).encode_to_vec();
    let shown = R::Message::without_secrets().apply(&encoded).expect("what was just encoded is in the wire format");
    let mut message = R::Message::decode(shown.as_slice()).expect("what was just encoded is in the wire format");
    message.set_metadata(*revision, etag(*revision), timestamp(*created_at), timestamp(*updated_at));
    message
}

/// A resource to be created. Fields that are for output only are ignored (AIP-203).
pub(in crate::grpc) fn new<R: Resource<Message: ApiMessage>>(message: Option<R::Message>) -> Result<R, AppError> {
    parse_new(&required::<R>(message)?).map_err(|error| AppError::invalid_resource(R::Message::FIELD, &error))
}

/// Which resource is to be changed, how, and the etag it must have.
pub(in crate::grpc) fn update<R: Resource<Message: ApiMessage>, Id>(
    message: Option<R::Message>,
    mask: Option<FieldMask>,
    parse_name: impl FnOnce(&str) -> Result<Id, InvalidResourceName>,
) -> Result<(Id, Patch<R>, Option<Revision>), AppError> {
    let message = required::<R>(message)?;
    let field = || format!("{}.name", R::Message::FIELD);
    let id = parse_name(message.name()).map_err(|error| AppError::invalid(field(), error))?;
    let etag = parse_etag(message.etag());
    let FieldMask { paths } = mask.unwrap_or_default();
    Ok((id, Patch::new(message, Mask::of(paths)), etag))
}

fn required<R: Resource<Message: ApiMessage>>(message: Option<R::Message>) -> Result<R::Message, AppError> {
    message.ok_or_else(|| AppError::invalid(R::Message::FIELD, "it is required"))
}

#[cfg(test)]
mod tests {
    use switchyard_proto::resource::{DnsProvider, Service};

    use super::*;
    use crate::model::Timestamp;

    fn stored<T>(value: T) -> Stored<T> {
        Stored { value, revision: Revision(3), created_at: Timestamp(1), updated_at: Timestamp(2) }
    }

    #[test]
    fn what_is_secret_comes_in_and_never_goes_out() {
        let message = wire::DnsProvider {
            name: "dnsProviders/home".to_owned(),
            zones: vec!["shop.example".to_owned()],
            settings: Some(wire::dns_provider::Settings::Cloudflare(wire::Cloudflare {
                api_token: "hunter2".to_owned(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let provider: DnsProvider = new(Some(message)).unwrap();
        let shown = serde_json::to_string(&super::message(&stored(provider))).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("api.cloudflare.com"), "{shown}");
    }

    #[test]
    fn a_message_says_what_holds_by_default_and_how_it_is_stored() {
        let service: Service = new(Some(wire::Service { name: "services/shop".into(), ..Default::default() })).unwrap();
        let shown = message(&stored(service));
        assert_eq!(shown.protocol(), wire::BackendProtocol::Automatic);
        assert_eq!((shown.revision, shown.etag.as_str()), (3, "3"));
        assert_eq!(shown.create_time, Some(timestamp(Timestamp(1))));
        assert_eq!(shown.update_time, Some(timestamp(Timestamp(2))));
    }

    #[test]
    fn what_is_wrong_is_named_as_in_the_request() {
        let Err(AppError::Invalid(violations)) = new::<DnsProvider>(Some(wire::DnsProvider::default())) else {
            panic!("it is refused");
        };
        let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["dns_provider.name", "dns_provider.zones", "dns_provider.settings"]);
        let Err(AppError::Invalid(violations)) = new::<DnsProvider>(None) else { panic!("it is refused") };
        assert_eq!(violations[0].field, "dns_provider");
    }
}
