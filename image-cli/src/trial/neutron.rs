//! The networks of a server as Neutron would make them: what the guest is told, and what it must have made of it.
//!
//! ```text
//! first  ─ DHCP, MTU 1442 ── QEMU's user network, which also holds 169.254.169.254
//! second ─ no DHCP, MTU 8950, IPv4 and IPv6 addresses, a default route and another one ── a hub, nobody there
//! ```
//! The form is that of Nova's `network_data.json` (its `nova/virt/netutils.py`, `get_network_metadata`, and
//! `doc/api_schemas/network_data.json`).

use serde_json::{Value, json};

/// QEMU leads an address to a program only if the network holds it. This one also has addresses that are not
/// link-local: systems treat those otherwise.
pub(super) const NETWORK: &str = "169.252.0.0/14";
/// What DHCP gives to the first interface.
pub(super) const ADDRESS: &str = "169.252.83.57";
/// Where the metadata service answers.
pub(super) const METADATA: &str = "169.254.169.254:80";

/// The MTU of an overlay network, and one that is larger than usual: neither is anyone's default.
pub(super) const MTU: [u32; 2] = [1442, 8950];
/// The second interface's addresses, as `ip` shows them.
pub(super) const STATIC: [&str; 2] = ["10.83.2.57/24", "2001:db8:83::57/64"];
/// The routes through it: destination and gateway, as `ip` shows them.
pub(super) const ROUTES: [(&str, &str); 2] = [("default", "10.83.2.1"), ("198.51.100.0/24", "10.83.2.9")];
/// The name server (RFC 5737: nobody has this address).
pub(super) const DNS: &str = "192.0.2.53";

/// The document for interfaces with these MAC addresses and Neutron ports.
pub(super) fn network_data(macs: &[String; 2], ports: &[String; 2]) -> Value {
    let id = |port: &str| format!("tap{}", port.chars().take(11).collect::<String>());
    let [first, second] = ports.each_ref().map(|port| id(port));
    let link = |index: usize, id: &str| {
        json!({
            "id": id,
            "vif_id": ports[index],
            "type": "ovs",
            "mtu": MTU[index],
            "ethernet_mac_address": macs[index],
        })
    };
    let dns = json!([{ "type": "dns", "address": DNS }]);
    let routes = json!([
        { "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": ROUTES[0].1 },
        { "network": "198.51.100.0", "netmask": "255.255.255.0", "gateway": ROUTES[1].1 },
    ]);
    json!({
        "links": [link(0, &first), link(1, &second)],
        "networks": [
            { "id": "network0", "type": "ipv4_dhcp", "link": first, "network_id": NETWORKS[0] },
            {
                "id": "network1", "type": "ipv4", "link": second, "network_id": NETWORKS[1],
                "ip_address": "10.83.2.57", "netmask": "255.255.255.0", "routes": routes, "services": dns,
            },
            {
                "id": "network2", "type": "ipv6", "link": second, "network_id": NETWORKS[1],
                "ip_address": "2001:db8:83::57", "netmask": "ffff:ffff:ffff:ffff::", "routes": [], "services": [],
            },
        ],
        "services": dns,
    })
}

/// The document for a server without interfaces (Nova's `nova/api/metadata/base.py`, `_network_data`).
pub(super) fn no_network_data() -> Value {
    json!({})
}

/// Neutron's identifiers of the two networks.
const NETWORKS: [&str; 2] = ["5f1b8e2c-83a0-4d6b-9c57-0f3c2f6a8301", "5f1b8e2c-83a0-4d6b-9c57-0f3c2f6a8302"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_networks_belong_together() {
        let macs = ["52:54:00:00:00:01", "52:54:01:00:00:01"].map(String::from);
        let ports = ["0a1b2c3d-4e5f-4000-8000-000000000000", "1a1b2c3d-4e5f-4000-8000-000000000000"];
        let data = network_data(&macs, &ports.map(String::from));
        assert_eq!(data["links"][0]["id"], "tap0a1b2c3d-4e");
        let linked: Vec<_> = data["networks"].as_array().unwrap().iter().map(|one| &one["link"]).collect();
        assert_eq!(linked, ["tap0a1b2c3d-4e", "tap1a1b2c3d-4e", "tap1a1b2c3d-4e"]);
        assert_eq!(data["links"][1]["ethernet_mac_address"], macs[1]);
        let of =
            |index: usize, key: &str| data["networks"][index][key].as_str().unwrap_or_default().to_owned();
        assert_eq!(STATIC, [format!("{}/24", of(1, "ip_address")), format!("{}/64", of(2, "ip_address"))]);
    }
}
