use prost_reflect::DynamicMessage;

use super::widget::{self, json, of_json};
use crate::{
    schema::{descriptor, resource, variants},
    v1,
};

#[test]
fn a_message_without_code_survives_json() {
    for arm in 0..3 {
        let widget = widget::widget(arm);
        assert_eq!(json(&of_json(&json(&widget).to_string())), json(&widget));
        assert_eq!(of_json(&json(&widget).to_string()), widget);
    }
}

/// The generated code and the descriptors make the same JSON of a message, but for times, which pbjson does not end with a `Z`.
fn is_the_same<M>()
where
    M: prost::Name + Default + serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    for message in variants::<M>(&widget::material()) {
        let generated = serde_json::to_value(&message).unwrap();
        let dynamic = DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice()).unwrap();
        assert_eq!(json(&dynamic).to_string(), generated.to_string().replace("+00:00", "Z"));
        let read = DynamicMessage::deserialize(descriptor::<M>(), &generated).unwrap();
        assert_eq!(read.transcode_to::<M>().unwrap(), message);
        assert_eq!(serde_json::from_value::<M>(generated).unwrap(), message);
    }
}

#[test]
fn both_makers_of_json_agree_on_every_resource() {
    is_the_same::<v1::Backend>();
    is_the_same::<v1::Certificate>();
    is_the_same::<v1::DnsProvider>();
    is_the_same::<v1::Domain>();
    is_the_same::<v1::Edge>();
    is_the_same::<v1::Invite>();
    is_the_same::<v1::Issuer>();
    is_the_same::<v1::Service>();
    is_the_same::<v1::Token>();
    assert_eq!(resource("backends"), Some(descriptor::<v1::Backend>()));
}
