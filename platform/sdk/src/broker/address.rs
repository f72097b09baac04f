//! Where a broker is.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A broker's address: `mqtt://host[:1883]`, or `mqtts://host[:8883]` for TLS. An IPv6 address stands in brackets; one
/// `/` at the end is allowed. Credentials are no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Whether by TLS; the certificate must then carry `host`.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// TCP port, 1 to 65535.
    pub port: u16,
}

impl FromStr for BrokerAddress {
    /// What is wrong with it, for people. Never quotes more than the host: it may hold a password.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => return Err("expected mqtt://host[:port] or mqtts://host[:port]".into()),
        };
        if rest.contains('@') {
            return Err("user and password belong in `username` and `password_file`".into());
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("`]` is missing")?;
                host.parse::<Ipv6Addr>().map_err(|_| "what stands in brackets is no IPv6 address")?;
                match after {
                    "" => (host, None),
                    after => (host, Some(after.strip_prefix(':').ok_or("after `]` comes `:port`")?)),
                }
            }
            None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > 253 || !host.bytes().all(name) {
            return Err(format!("{host:?} is no host name or address"));
        }
        let port = match port {
            None if tls => 8883,
            None => 1883,
            // `parse` alone would take a sign.
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or("the port is not a number from 1 to 65535")?,
            Some(_) => return Err("the port is not a number from 1 to 65535".into()),
        };
        Ok(Self { tls, host: host.into(), port })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "mqtts" } else { "mqtt" };
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16) {
        let BrokerAddress { tls, host, port } = text.parse().unwrap();
        (tls, host, port)
    }

    #[test]
    fn names_and_addresses_with_and_without_a_port() {
        for (text, tls, host, port) in [
            ("mqtt://broker.example", false, "broker.example", 1883),
            ("mqtts://broker.example", true, "broker.example", 8883),
            ("mqtts://broker.example:443/", true, "broker.example", 443),
            ("mqtt://192.0.2.7:65535", false, "192.0.2.7", 65535),
            ("mqtt://my_broker-1", false, "my_broker-1", 1883),
            ("mqtts://[2001:db8::1]", true, "2001:db8::1", 8883),
            ("mqtt://[::1]:1884", false, "::1", 1884),
        ] {
            assert_eq!(parts(text), (tls, host.into(), port), "{text}");
            let address: BrokerAddress = text.parse().unwrap();
            assert_eq!(address.to_string().parse(), Ok(address), "written and read again: {text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "expected mqtt://"),
            ("broker.example", "expected mqtt://"),
            ("MQTT://broker.example", "expected mqtt://"),
            ("http://broker.example", "expected mqtt://"),
            ("mqtt://", "no host name"),
            ("mqtt:///", "no host name"),
            ("mqtt://:1883", "no host name"),
            ("mqtt://broker example", "no host name"),
            ("mqtt://broker/topic", "no host name"),
            ("mqtt://broker?x=1", "no host name"),
            ("mqtt://bröker", "no host name"),
            ("mqtt://a\0b", "no host name"),
            ("mqtt://broker:", "the port"),
            ("mqtt://broker:0", "the port"),
            ("mqtt://broker:65536", "the port"),
            ("mqtt://broker:+1883", "the port"),
            ("mqtt://broker:1883//", "the port"),
            ("mqtt://::1", "no host name"),
            ("mqtt://2001:db8::1", "the port"),
            ("mqtt://[::1", "`]` is missing"),
            ("mqtt://[::1]1883", "`:port`"),
            ("mqtt://[::1]:", "the port"),
            ("mqtt://[broker]", "no IPv6"),
            ("mqtt://[fe80::1%eth0]", "no IPv6"),
        ] {
            let said = text.parse::<BrokerAddress>().unwrap_err();
            assert!(said.contains(why), "{text:?}: {said}");
        }
        let long = format!("mqtt://{}", "a".repeat(254));
        assert!(long.parse::<BrokerAddress>().is_err());
    }

    #[test]
    fn a_password_in_it_is_refused_and_not_repeated() {
        let said = "mqtts://platform:hunter2@broker.example".parse::<BrokerAddress>().unwrap_err();
        assert!(said.contains("password_file") && !said.contains("hunter2"), "{said}");
    }
}
