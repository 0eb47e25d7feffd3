"""What cloud-init's own code makes of the documents that `goldimg test --as openstack` gives to a guest.

    cloud_init.py PACKAGES DOCUMENTS     prints JSON: metadata, user data, vendor data, network, as systemd-networkd gets it
"""

import json
import os
import sys
import tempfile

packages, documents = sys.argv[1:]
sys.path.insert(0, packages)

from cloudinit import sources, util  # noqa: E402
from cloudinit.net import network_state, networkd  # noqa: E402
from cloudinit.sources.helpers import openstack  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    os.mkdir(f"{folder}/openstack")
    os.symlink(os.path.abspath(documents), f"{folder}/openstack/latest")
    read = openstack.ConfigDriveReader(folder).read_v2()

links = read["networkdata"]["links"]
known = {link["ethernet_mac_address"]: f"eth{index}" for index, link in enumerate(links)}
config = openstack.convert_net_json(read["networkdata"], known_macs=known)
state = network_state.parse_net_config_data(config)
# Files are for a user that this machine need not have, and only root gives files away.
util.chownbyname = lambda *_: None
with tempfile.TemporaryDirectory() as folder:
    networkd.Renderer().render_network_state(state, target=folder)
    network = {}
    for top, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(top, name)) as file:
                network[name.removeprefix("10-cloud-init-").removesuffix(".network")] = file.read()

print(json.dumps({
    "version": read["version"],
    "uuid": read["metadata"]["uuid"],
    "hostname": read["metadata"]["hostname"],
    "keys": read["metadata"]["public_keys"],
    "user_data": read["userdata"].decode(),
    "vendor_data": sources.convert_vendordata(read["vendordata"]),
    "network": network,
}))
