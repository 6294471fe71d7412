use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage};

use super::widget::{json, of_json, widget};
use crate::schema::{Filter, InvalidPatch, InvalidPath, Mask, Violation, input, patch, paths};

/// A widget with a secret in an arm and one in a message, state, and what never changes.
fn stored() -> DynamicMessage {
    of_json(
        r#"{"name": "widgets/one", "home": "here", "enabled": true, "version": "VERSION_V1_2", "tags": ["a"], "labels": {"k": "v"},
            "parts": {"p": {"count": 1}}, "settings": {"verbose": true, "note": "n", "plan": "free", "deep": {"level": 3, "key": "k"}},
            "remote": {"token": "t", "address": "a", "route": {"via": "v", "hops": 2}, "zone": "z"}, "rank": 1, "timeout": "2s",
            "previous": "p"}"#,
    )
}

fn paths_of(paths: &[&str]) -> Mask {
    Mask::of(paths.iter().map(|path| (*path).to_owned()).collect())
}

/// What changes of the stored widget: its JSON, but only what is different at the first level.
fn changed(change: &str, mask: &[&str]) -> serde_json::Value {
    let stored = stored();
    let patched = patch(&stored, &of_json(change), &paths_of(mask)).unwrap();
    let (old, mut new) = (json(&stored), json(&patched));
    let keys: Vec<String> = old.as_object().unwrap().keys().cloned().collect();
    let map = new.as_object_mut().unwrap();
    for key in keys {
        if map.get(&key) == Some(&old[&key]) {
            map.remove(&key);
        } else {
            map.entry(key).or_insert(serde_json::Value::Null);
        }
    }
    new
}

fn violations(change: &str, mask: &[&str]) -> Vec<String> {
    let InvalidPatch(violations) = patch(&stored(), &of_json(change), &paths_of(mask)).unwrap_err();
    violations.iter().map(ToString::to_string).collect()
}

macro_rules! changes {
    ($change:literal, $mask:expr => $changed:tt) => {
        assert_eq!(changed($change, &$mask), serde_json::json!($changed));
    };
}

#[test]
fn without_a_mask_what_is_given_is_set() {
    changes!("{}", [] => {});
    changes!(r#"{"name": "widgets/one", "enabled": false, "rank": 0, "tags": ["b", "c"]}"#, [] => {"rank": 0, "tags": ["b", "c"]});
    changes!(r#"{"labels": {"x": "y"}, "parts": {"q": {}}}"#, [] => {"labels": {"x": "y"}, "parts": {"q": {}}});
    changes!(r#"{"settings": {"deep": {"level": 4}}}"#, [] =>
        {"settings": {"verbose": true, "note": "n", "plan": "free", "deep": {"level": 4, "key": "k"}}});
    changes!(r#"{"timeout": "0.250s", "settings": {}}"#, [] => {"timeout": "0.250s"});
}

#[test]
fn named_fields_are_set_or_cleared() {
    changes!(r#"{"enabled": false, "tags": ["b"]}"#, ["enabled"] => {"enabled": null});
    changes!("{}", ["rank", "timeout", "tags", "labels", "version"] =>
        {"rank": null, "timeout": null, "tags": null, "labels": null, "version": null});
    changes!(r#"{"settings": {"note": "m", "verbose": false}}"#, ["settings.note"] =>
        {"settings": {"verbose": true, "note": "m", "plan": "free", "deep": {"level": 3, "key": "k"}}});
    changes!("{}", ["settings.deep.level"] => {"settings": {"verbose": true, "note": "n", "plan": "free", "deep": {"key": "k"}}});
    changes!("{}", ["settings"] => {"settings": null});
    changes!("{}", ["local.path", "literal"] => {});
}

#[test]
fn a_message_is_made_by_what_is_set_in_it() {
    let bare = of_json(r#"{"name": "widgets/one"}"#);
    let patched = |change: &str, path: &str| json(&patch(&bare, &of_json(change), &paths_of(&[path])).unwrap());
    let name = serde_json::json!({"name": "widgets/one"});
    assert_eq!(patched("{}", "settings.deep.level"), name);
    assert_eq!(patched(r#"{"settings": {"deep": {}}}"#, "settings.deep.level"), name);
    let empty = serde_json::json!({"name": "widgets/one", "settings": {}});
    assert_eq!(patched(r#"{"settings": {}}"#, "settings"), empty);
    let deep = serde_json::json!({"name": "widgets/one", "settings": {"deep": {"level": 2}}});
    assert_eq!(patched(r#"{"settings": {"verbose": true, "deep": {"level": 2}}}"#, "settings.deep.level"), deep);
    let given = patch(&bare, &of_json(r#"{"settings": {}}"#), &Mask::Given).unwrap();
    assert_eq!(json(&given), empty);
}

#[test]
fn a_whole_message_is_replaced_but_for_secrets_and_what_never_changes() {
    changes!(r#"{"settings": {"deep": {}}}"#, ["settings"] => {"settings": {"plan": "free", "deep": {"key": "k"}}});
    changes!(r#"{"settings": {"note": "m"}}"#, ["settings"] => {"settings": {"plan": "free", "note": "m"}});
}

#[test]
fn a_star_replaces_all_but_state_secrets_and_what_never_changes() {
    let put = |change: &str, mask: &Mask| json(&patch(&stored(), &of_json(change), mask).unwrap());
    assert_eq!(
        put(
            r#"{"remote": {"address": "a", "route": {"via": "v"}}, "previous": "x", "revision": "9"}"#,
            &paths_of(&["*"])
        ),
        serde_json::json!({"name": "widgets/one", "home": "here", "previous": "p",
            "remote": {"token": "t", "address": "a", "route": {"via": "v"}, "zone": "z"}})
    );
    let restored = r#"{"remote": {"address": "b", "token": "u"}, "settings": {"deep": {}}}"#;
    assert_eq!(
        put(restored, &Mask::Restore),
        serde_json::json!({"name": "widgets/one", "home": "here", "previous": "p",
            "remote": {"address": "b", "token": "u", "zone": "z"}, "settings": {"deep": {}, "plan": "free"}})
    );
}

#[test]
fn an_arm_clears_the_others_and_their_secrets() {
    changes!(r#"{"local": {"path": "p"}}"#, [] => {"local": {"path": "p"}, "remote": null});
    changes!(r#"{"local": {"path": "p", "pin": "x"}}"#, ["local.path"] => {"local": {"path": "p"}, "remote": null});
    changes!(r#"{"literal": ""}"#, ["literal"] => {"literal": "", "remote": null});
    changes!(r#"{"literal": "l"}"#, ["remote"] => {"remote": null});
    let away = patch(&stored(), &of_json(r#"{"local": {"path": "p"}}"#), &Mask::Given).unwrap();
    let back = patch(&away, &of_json(r#"{"remote": {"address": "evil"}}"#), &Mask::Replace).unwrap();
    assert_eq!(json(&back)["remote"], serde_json::json!({"address": "evil"}), "the token went with its arm");
}

#[test]
fn a_secret_stays_until_it_is_named() {
    changes!(r#"{"remote": {"route": {"via": "v", "hops": 3}}}"#, ["remote.route"] =>
        {"remote": {"token": "t", "address": "a", "route": {"via": "v", "hops": 3}, "zone": "z"}});
    changes!("{}", ["remote.token"] => {"remote": {"address": "a", "route": {"via": "v", "hops": 2}, "zone": "z"}});
    changes!(r#"{"settings": {"deep": {"key": "new"}}}"#, ["settings.deep.key"] =>
        {"settings": {"verbose": true, "note": "n", "plan": "free", "deep": {"level": 3, "key": "new"}}});
}

#[test]
fn what_a_secret_is_for_does_not_change_without_it() {
    let address = "remote.token has to be given again when remote.address changes";
    let via = "remote.token has to be given again when remote.route.via changes";
    assert_eq!(violations(r#"{"remote": {"address": "evil"}}"#, &[]), [address]);
    assert_eq!(violations(r#"{"remote": {"address": "evil", "token": "t"}}"#, &["remote.address"]), [address]);
    assert_eq!(violations(r#"{"remote": {"address": "evil"}}"#, &["remote"]), [address, via]);
    assert_eq!(violations(r#"{"remote": {"address": "evil"}}"#, &["*"]), [address, via]);
    assert_eq!(violations(r#"{"remote": {"address": "a"}}"#, &["remote.address", "remote.route"]), [via]);
    changes!(r#"{"remote": {"address": "b", "token": "t"}}"#, ["remote.address", "remote.token"] =>
        {"remote": {"token": "t", "address": "b", "route": {"via": "v", "hops": 2}, "zone": "z"}});
    changes!(r#"{"remote": {"address": "b"}}"#, ["remote.address", "remote.token"] =>
        {"remote": {"address": "b", "route": {"via": "v", "hops": 2}, "zone": "z"}});
    changes!(r#"{"remote": {"address": "b", "token": "u"}}"#, [] =>
        {"remote": {"token": "u", "address": "b", "route": {"via": "v", "hops": 2}, "zone": "z"}});
}

#[test]
fn what_never_changes_is_refused_by_name() {
    assert_eq!(
        violations(r#"{"name": "widgets/two", "home": "there"}"#, &[]),
        ["name cannot be changed", "home cannot be changed"]
    );
    assert_eq!(violations(r#"{"settings": {"plan": "paid"}}"#, &["settings"]), ["settings.plan cannot be changed"]);
    assert_eq!(violations("{}", &["home"]), ["home cannot be changed"]);
    assert_eq!(violations(r#"{"name": "widgets/two"}"#, &["*"]), ["name cannot be changed"]);
    changes!(r#"{"name": "widgets/one", "home": "here"}"#, ["name", "home"] => {});
    changes!(r#"{"name": "widgets/two"}"#, ["enabled"] => {"enabled": null});
}

#[test]
fn what_is_for_output_only_is_ignored_and_cannot_be_named() {
    changes!(r#"{"previous": "x", "revision": "7", "spares": [{"label": "l", "sum": "s"}], "remote": {"zone": "y"}}"#, [] =>
        {"spares": [{"label": "l"}]});
    for path in ["previous", "revision", "remote.zone"] {
        assert_eq!(violations("{}", &[path]), [format!("{path:?} is for output only")]);
    }
    let input = json(&input(&widget(0)));
    assert!(
        input.get("previous").is_none()
            && input["parts"].as_object().unwrap().values().all(|it| it.get("sum").is_none())
    );
}

#[test]
fn a_path_that_leads_nowhere_is_refused_by_name() {
    let wrong = ["tags.0", "labels.k", "spares.label", "parts.p.count", "timeout.seconds", "enabled.x"];
    let InvalidPatch(found) = patch(&stored(), &of_json("{}"), &paths_of(&wrong)).unwrap_err();
    for (path, violation) in wrong.iter().zip(&found) {
        let end = path.split('.').next().unwrap().to_owned();
        assert_eq!(*violation, Violation::Path(InvalidPath::Within { path: (*path).to_owned(), end }));
        assert_eq!(violation.path(), *path);
    }
    assert_eq!(found.len(), wrong.len());
    let text = violations("{}", &["settings.vebose", "verbose", "", "settings.", ".", "settings.deep.nothing_like_it"]);
    assert!(text[0].ends_with("the nearest are settings.verbose"), "{text:?}");
    assert!(text[1].ends_with("the nearest are settings.verbose"), "{text:?}");
    assert!(text[5].ends_with("the fields there are level, key, only"), "{text:?}");
    assert_eq!(text.len(), 6);
    assert_eq!(violations("{}", &["enabled", "*"]), ["\"*\" stands alone"]);
    assert_eq!(violations("{}", &["enabled"; 101]), ["at most 100 paths"]);
    assert!(patch(&stored(), &of_json("{}"), &paths_of(&["enabled"; 100])).is_ok());
}

#[test]
fn what_a_newer_version_wrote_is_not_lost() {
    // Field 99 is a number, in the resource and in its settings.
    let newer = [stored().encode_to_vec(), vec![0x98, 0x06, 1, 0x4a, 3, 0x98, 0x06, 1]].concat();
    let newer = DynamicMessage::decode(stored().descriptor(), newer.as_slice()).unwrap();
    let InvalidPatch(found) = patch(&newer, &of_json("{}"), &Mask::Given).unwrap_err();
    let at = |path: &str| Violation::NewerStored { path: path.into(), number: 99 };
    assert_eq!(found, [at(""), at("settings")]);
    let InvalidPatch(found) = patch(&stored(), &newer, &Mask::Given).unwrap_err();
    let at = |path: &str| Violation::UnknownField { path: path.into(), number: 99 };
    assert_eq!(found, [at(""), at("settings")]);
    let other =
        crate::schema::Populate::new(&super::widget::material()).dynamic(&crate::schema::resource("domains").unwrap());
    let found = patch(&stored(), &other, &Mask::Given).unwrap_err();
    assert_eq!(found, InvalidPatch(vec![Violation::Type("switchyard.v1.Domain".into())]));
}

/// Without what is computed, as it is in the database.
fn stored_form(message: &DynamicMessage) -> DynamicMessage {
    let stored = Filter::stored(&message.descriptor()).apply(&message.encode_to_vec()).unwrap();
    DynamicMessage::decode(message.descriptor(), stored.as_slice()).unwrap()
}

#[test]
fn every_path_can_be_named_and_changes_nothing_when_it_is_as_it_was() {
    for arm in 0..3 {
        let whole = stored_form(&widget(arm));
        let paths = paths(&whole.descriptor());
        for mask in
            paths.iter().map(|path| Mask::Paths(vec![path.clone()])).chain([Mask::Given, Mask::Replace, Mask::Restore])
        {
            assert_eq!(json(&patch(&whole, &whole, &mask).unwrap()), json(&whole), "{mask:?}");
        }
        assert!(paths.contains(&"settings.deep.key".to_owned()) && !paths.contains(&"revision".to_owned()));
    }
    for (_, message) in crate::schema::resources() {
        for whole in crate::schema::dynamic_variants(&message, &super::widget::material()) {
            for path in paths(&message) {
                let patched = patch(&whole, &whole, &Mask::Paths(vec![path.clone()])).unwrap();
                assert_eq!(json(&patched), json(&whole), "{path}");
            }
        }
    }
}
