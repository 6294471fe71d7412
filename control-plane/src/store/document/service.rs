use std::{sync::Arc, time::Duration};

use switchyard_proto::{
    v1,
    vocab::{BackendHost, ResourceKey, ResourceKind, ServiceId},
};

use super::{Document, Invalid, Secrets, optional, pem, slot::Slot, word};
use crate::model::{
    BackendProtocol, BackendTls, BackendTrust, Balancing, CaBundle, ClientCertificate, Object, ObjectKey, ObjectKind,
    Resource, Service, Stored, Timeouts,
};

impl Document for Service {
    const KIND: ObjectKind = ObjectKind::Served(ResourceKind::Service);
    type Id = ServiceId;
    type Message = v1::Service;

    fn key_of(id: &ServiceId) -> ObjectKey {
        ResourceKey::service(id).into()
    }

    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn message(&self) -> v1::Service {
        let Self { id, balancing, protocol, timeouts, tls } = self;
        let balancing = match balancing {
            Balancing::RoundRobin => v1::BalancingPolicy::Unspecified,
        };
        let protocol = match protocol {
            BackendProtocol::Automatic => v1::BackendProtocol::Unspecified,
            BackendProtocol::Http1 => v1::BackendProtocol::Http1,
            BackendProtocol::Http2 => v1::BackendProtocol::Http2,
        };
        v1::Service {
            name: id.to_resource_name(),
            balancing: balancing.into(),
            protocol: protocol.into(),
            timeouts: (*timeouts != Timeouts::default()).then(|| timeouts_message(timeouts)),
            tls: tls.as_ref().map(tls_message),
            ..v1::Service::default()
        }
    }

    fn parse(message: v1::Service, _: &mut Secrets) -> Result<Self, Invalid> {
        let v1::Service {
            name,
            balancing,
            protocol,
            timeouts,
            revision: _,
            etag: _,
            create_time: _,
            update_time: _,
            tls,
        } = message;
        Ok(Self {
            id: ServiceId::parse_resource_name(&name)?,
            balancing: match word("balancing", balancing)? {
                v1::BalancingPolicy::Unspecified | v1::BalancingPolicy::RoundRobin => Balancing::RoundRobin,
            },
            protocol: match word("protocol", protocol)? {
                v1::BackendProtocol::Unspecified | v1::BackendProtocol::Automatic => BackendProtocol::Automatic,
                v1::BackendProtocol::Http1 => BackendProtocol::Http1,
                v1::BackendProtocol::Http2 => BackendProtocol::Http2,
            },
            timeouts: parse_timeouts(timeouts.unwrap_or_default())?,
            tls: tls.map(parse_tls).transpose()?,
        })
    }

    fn secret_fields(message: &mut v1::Service) -> Vec<Slot<'_>> {
        let certificate = message.tls.as_mut().and_then(|tls| tls.client_certificate.as_mut());
        let slot = |it| Slot::text("tls.client_certificate.private_key_pem", it);
        certificate.map(|it| slot(&mut it.private_key_pem)).into_iter().collect()
    }

    fn object(stored: Arc<Stored<Self>>) -> Object {
        Object::Served(Resource::Service(stored))
    }
}

fn timeouts_message(timeouts: &Timeouts) -> v1::ServiceTimeouts {
    let defaults = Timeouts::default();
    let unless = |default: Duration, value: Duration| (value != default).then(|| value.into());
    v1::ServiceTimeouts {
        connect: unless(defaults.connect(), timeouts.connect()),
        first_byte: unless(defaults.first_byte(), timeouts.first_byte()),
        idle: unless(defaults.idle(), timeouts.idle()),
    }
}

fn parse_timeouts(message: v1::ServiceTimeouts) -> Result<Timeouts, Invalid> {
    let v1::ServiceTimeouts { connect, first_byte, idle } = message;
    let defaults = Timeouts::default();
    let timeout = |value: Option<pbjson_types::Duration>, default| {
        let parse = |value| Duration::try_from(value).map_err(|_| "a timeout is out of bounds");
        value.map_or(Ok(default), parse)
    };
    Ok(Timeouts::new(
        timeout(connect, defaults.connect())?,
        timeout(first_byte, defaults.first_byte())?,
        timeout(idle, defaults.idle())?,
    )?)
}

fn tls_message(tls: &BackendTls) -> v1::BackendTls {
    let BackendTls { trust, server_name, alternative_name, client_certificate } = tls;
    let name = |name: &Option<BackendHost>| name.as_ref().map(ToString::to_string).unwrap_or_default();
    v1::BackendTls {
        ca_bundle_pem: match trust {
            BackendTrust::Authorities(CaBundle(certificates)) => pem::of_certificates(certificates),
            BackendTrust::System | BackendTrust::Anybody => String::new(),
        },
        server_name: name(server_name),
        client_certificate: client_certificate.as_ref().map(|ClientCertificate { chain, private_key }| {
            v1::BackendClientCertificate {
                chain_pem: pem::of_certificates(chain),
                private_key_pem: pem::of_key(private_key),
                ..v1::BackendClientCertificate::default()
            }
        }),
        insecure_skip_verify: *trust == BackendTrust::Anybody,
        alternative_name: name(alternative_name),
    }
}

fn parse_tls(message: v1::BackendTls) -> Result<BackendTls, Invalid> {
    let v1::BackendTls { ca_bundle_pem, server_name, client_certificate, insecure_skip_verify, alternative_name } =
        message;
    let parse_client_certificate = |message| {
        let v1::BackendClientCertificate { chain_pem, private_key_pem, fingerprint_sha256: _, not_after_time: _ } =
            message;
        Ok::<_, Invalid>(ClientCertificate {
            chain: pem::certificates(&chain_pem)?,
            private_key: pem::key(&private_key_pem)?,
        })
    };
    Ok(BackendTls {
        trust: match (ca_bundle_pem.as_str(), insecure_skip_verify) {
            ("", false) => BackendTrust::System,
            ("", true) => BackendTrust::Anybody,
            (bundle, false) => BackendTrust::Authorities(CaBundle(pem::certificates(bundle)?)),
            (_, true) => return Err("it has CAs and trusts anybody".into()),
        },
        server_name: optional(&server_name, BackendHost::parse)?,
        alternative_name: optional(&alternative_name, BackendHost::parse)?,
        client_certificate: client_certificate.map(parse_client_certificate).transpose()?,
    })
}
