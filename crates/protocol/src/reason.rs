//! Names for what went wrong, as they travel in hello and state and as people read them. One table for wire and text.

use core::fmt;
use serde::{Deserialize, Serialize};

/// Declares an enum whose variants have a name on the wire and a sentence for people, in one table.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $wire:literal, $text:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $(#[doc = $text] #[serde(rename = $wire)] $variant,)+
        }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire),+ }
            }

            /// The variant with this name on the wire.
            pub fn from_wire(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|v| v.as_str() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
    };
}
pub(crate) use named;

named! {
    /// Why there is no connection to the service.
    Failure {
        Dns = "dns", "the service's host name has no address";
        Refused = "refused", "nothing listens at the service's address and port";
        Unreachable = "unreachable", "there is no route to the service";
        ConnectTimeout = "connect_timeout", "the service did not answer in time";
        TlsUnknownIssuer = "tls_unknown_issuer", "the service's certificate comes from no trusted root";
        TlsName = "tls_name", "the service's certificate is for another host name";
        TlsExpired = "tls_expired", "the service's certificate has expired";
        TlsNotYetValid = "tls_not_yet_valid", "the service's certificate is not yet valid";
        TlsUsage = "tls_usage", "the service's certificate is not for TLS servers";
        TlsIssuerNotCa = "tls_issuer_not_ca", "the service's certificate was issued by one that is no authority";
        TlsSelfSigned = "tls_self_signed", "the service's certificate is self-signed or an authority's own";
        TlsSignature = "tls_signature", "a signature in the service's certificate chain is wrong";
        TlsMalformed = "tls_malformed", "a certificate of the service is not the DER that RFC 5280 wants";
        TlsCertificateVersion = "tls_certificate_version", "a certificate of the service is of another version than 3";
        TlsCriticalExtension = "tls_critical_extension", "a certificate of the service has a critical extension that devices do not know";
        TlsNameConstraints = "tls_name_constraints", "a certificate on the service's path has name constraints, which devices do not take";
        TlsIssuerUsage = "tls_issuer_usage", "an issuer on the service's path may not sign certificates of TLS servers";
        TlsPathLength = "tls_path_length", "the service's path has more authorities than one of them allows";
        TlsChainTooLong = "tls_chain_too_long", "the service's certificates are more than a device takes: 6 between server and root, 4096 bytes in all";
        TlsRootEnded = "tls_root_ended", "the root that vouches for the service has ended";
        TlsRootNotYetValid = "tls_root_not_yet_valid", "the root that vouches for the service is not yet valid";
        TlsVersionOrCipher = "tls_version_or_cipher", "the service offers no TLS version or cipher suite that is allowed";
        TlsClientRejected = "tls_client_rejected", "the service does not accept this device's certificate";
        TlsCertificate = "tls_certificate", "the service's certificate was refused";
        TlsOther = "tls_other", "the TLS handshake failed";
        Credentials = "credentials", "the device's own certificate, key or roots are missing or unusable";
        MqttProtocol = "mqtt_protocol", "the service does not speak MQTT 3.1.1";
        MqttSession = "mqtt_session", "the service kept a session, though the device asks for a new one each time";
        MqttDisconnect = "mqtt_disconnect", "the service sent DISCONNECT, which in MQTT 3.1.1 only clients may";
        MqttIdentifier = "mqtt_identifier", "the service refused the client identifier";
        MqttUnavailable = "mqtt_unavailable", "the service says that it is not available";
        MqttCredentials = "mqtt_credentials", "the service refused user name or password";
        MqttNotAuthorised = "mqtt_not_authorised", "the service says that this device is not authorised";
        SubscribeRefused = "subscribe_refused", "the service refused a subscription";
        SubscribeTimeout = "subscribe_timeout", "the service did not answer a subscription in time";
        AckTimeout = "ack_timeout", "the service did not acknowledge a message in time";
        KeepAlive = "keep_alive", "the service was silent for longer than one and a half keep-alive periods";
        PeerClosed = "peer_closed", "the service closed the connection";
        LinkLost = "link_lost", "the connection broke";
        Requested = "requested", "the device closed the connection on purpose";
    }
}

impl Failure {
    /// Whether it is the date of a certificate that is wrong, or the device's clock.
    pub const fn is_of_dates(self) -> bool {
        matches!(
            self,
            Self::TlsExpired | Self::TlsNotYetValid | Self::TlsRootEnded | Self::TlsRootNotYetValid
        )
    }
}

named! {
    /// Why the device started.
    ResetCause {
        PowerOn = "power_on", "power came on";
        Pin = "pin", "the reset pin was pulled";
        Software = "software", "the firmware asked for it";
        Watchdog = "watchdog", "the watchdog ran out";
        Brownout = "brownout", "the supply voltage was too low";
        Fault = "fault", "the processor met a fault it could not handle";
        Unknown = "unknown", "the hardware does not tell";
    }
}

named! {
    /// Where a configuration comes from.
    Layer {
        Group = "group", "the configuration of the device's group";
        Device = "device", "the device's own configuration";
    }
}

named! {
    /// Why a document was refused. Nothing of it takes effect.
    Refusal {
        Malformed = "malformed", "it is no COSE_Sign1 in deterministic CBOR with exactly the headers that are wanted";
        Algorithm = "algorithm", "it is signed with another algorithm than ES256";
        ContentType = "content_type", "its content type is unknown or does not belong on this topic";
        UnknownKey = "unknown_key", "it is signed with a key that this device does not know";
        WrongAuthority = "wrong_authority", "it is signed with the key of an authority that has no power over this";
        Signature = "signature", "its signature is wrong";
        Payload = "payload", "its payload is not what its content type promises";
        OtherDevice = "other_device", "it is for another device";
        OtherGroup = "other_group", "it is for another group";
        Audience = "audience", "it must be for one device alone";
        Replayed = "replayed", "its number was already used";
        Older = "older", "its number is lower than the one in force";
        TooLong = "too_long", "it is longer than the device can hold";
        Unexpected = "unexpected", "the device did not ask for it or cannot use it in its present state";
        Certificate = "certificate", "a certificate in it does not fit the device's key, its id, the time or the roots";
        Configuration = "configuration", "the configuration in it is not valid";
        Expired = "expired", "the time until which it may be begun is over";
        Undone = "undone", "the service or a time server was not reached with it: what was before it is in force again";
        Chain = "chain", "it is about a record of the log that this device does not have, or has with another hash";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_unique_and_reads_back() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from_wire(failure.as_str()), Some(*failure));
        }
        for cause in ResetCause::ALL {
            assert_eq!(ResetCause::from_wire(cause.as_str()), Some(*cause));
        }
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_wire(refusal.as_str()), Some(*refusal));
        }
        assert_eq!(Failure::from_wire("no_such_name"), None);
    }
}
