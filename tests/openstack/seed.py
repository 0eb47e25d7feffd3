"""What the test services start with: users, roles, endpoints, application credentials, and files for clients.

    seed.py port CALLER WHICH | password
    seed.py wait URL FOLDER SERVICE         until it answers, or the service's process is gone
    seed.py fill KEYSTONE GLANCE FOLDER     projects, users, roles and endpoints; writes FOLDER/ids.json
    seed.py expire FOLDER                   makes one application credential a thing of the past
    seed.py endpoints FOLDER KEYSTONE GLANCE    the addresses of this start
    seed.py clouds FOLDER KEYSTONE GLANCE   writes FOLDER/clouds.yaml and FOLDER/endpoints.json
"""

import json
import os
import socket
import sqlite3
import ssl
import sys
import time
import urllib.error
import urllib.request

PASSWORD = "goldimg-password"
REGION = "RegionOne"
EXPIRED = "expired"


def port(caller, which):
    """A port that is still free when a server comes to it: below those that the system gives to connections, and another
    one for each process that asks."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        count = (min(int(file.read().split()[0]), 32768) - 10000) // 2
    for attempt in range(count):
        candidate = 10000 + (int(caller) + attempt * 997) % count * 2 + int(which)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
        print(candidate)
        return
    sys.exit("no port is free")


def wait(url, folder, service):
    """A process that ends early is a failure, and so is one that hangs; its log is shown."""
    with open(f"{folder}/run/{service}.pid") as file:
        pid = file.read().split()[0]
    trusting = ssl._create_unverified_context()
    end = time.time() + 45 * 60
    while time.time() < end:
        try:
            urllib.request.urlopen(url, timeout=300, context=trusting).read()
            return
        except urllib.error.HTTPError as error:
            if error.code == 300:
                return
        except OSError:
            pass
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] in "ZX":
                    break
        except OSError:
            break
        time.sleep(0.05)
    with open(f"{folder}/log/{service}.log") as log:
        sys.exit(f"{url} did not come up:\n{log.read()[-3000:]}")


class Keystone:
    """A client that knows just enough."""

    def __init__(self, url, user, project):
        self.url, self.token = url, None
        identity = {"methods": ["password"], "password": {"user": {
            "name": user, "domain": {"id": "default"}, "password": PASSWORD}}}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        body, headers = self.request("POST", "/auth/tokens", {"auth": {"identity": identity, "scope": scope}})
        self.token, self.project = headers["X-Subject-Token"], body["token"]["project"]["id"]

    def request(self, method, path, body=None):
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["X-Auth-Token"] = self.token
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, method=method, data=data, headers=headers)
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
            return (json.loads(text) if text else {}), answer.headers

    def create(self, kind, path, **fields):
        return self.request("POST", path, {kind: fields})[0][kind]


def fill(keystone, glance, folder):
    admin = Keystone(keystone, "admin", "admin")
    roles = {role["name"]: role["id"] for role in admin.request("GET", "/roles")[0]["roles"]}

    def user(name, project, *names):
        made = admin.create("user", "/users", name=name, domain_id="default", password=PASSWORD)["id"]
        for role in names:
            admin.request("PUT", f"/projects/{project}/users/{made}/roles/{roles[role]}")
        return made

    projects = {name: admin.create("project", "/projects", name=name, domain_id="default")["id"]
                for name in ("service", "demo", "other")}
    user("glance", projects["service"], "admin", "service")
    demo = user("demo", projects["demo"], "member")
    user("reader", projects["demo"], "reader")
    user("other", projects["other"], "member")
    service = admin.create("service", "/services", name="glance", type="image")["id"]
    for interface in ("public", "internal"):
        admin.create("endpoint", "/endpoints", interface=interface, url=glance, region_id=REGION, service_id=service)
    member = Keystone(keystone, "demo", "demo")
    credentials = {}
    for name, extra in (("full", {}), ("reader", {"roles": [{"name": "reader"}]}),
                        (EXPIRED, {"expires_at": "2099-01-01T00:00:00.000000"})):
        path = f"/users/{demo}/application_credentials"
        made = member.create("application_credential", path, name=name, **extra)
        credentials[name] = {"id": made["id"], "secret": made["secret"]}
    with open(f"{folder}/ids.json", "w") as file:
        json.dump({"demo_project": projects["demo"], "demo_user": demo, "credentials": credentials}, file)


def expire(folder):
    """Keystone makes no credential that has expired already."""
    with sqlite3.connect(f"{folder}/keystone.db") as database:
        changed = database.execute("update application_credential set expires_at = 1 where name = ?", (EXPIRED,))
        assert changed.rowcount == 1


def endpoints(folder, keystone, glance):
    with sqlite3.connect(f"{folder}/keystone.db") as database:
        services = dict(database.execute("select type, id from service"))
        for kind, url in (("identity", keystone), ("image", glance)):
            database.execute("update endpoint set url = ? where service_id = ?", (url, services[kind]))


def clouds(folder, keystone, glance):
    with open(f"{folder}/ids.json") as file:
        ids = json.load(file)
    shared = {"region_name": REGION}
    if keystone.startswith("https"):
        shared["cacert"] = f"{folder}/tls/ca.pem"

    def password(user, project, **extra):
        auth = {"auth_url": keystone, "username": user, "password": PASSWORD, "project_name": project,
                "user_domain_name": "Default", "project_domain_name": "Default"}
        return {**shared, "auth": {**auth, **extra}}

    def credential(name):
        made = ids["credentials"][name]
        return {**shared, "auth_type": "v3applicationcredential", "auth": {
            "auth_url": keystone, "application_credential_id": made["id"],
            "application_credential_secret": made["secret"]}}

    bare = keystone.removesuffix("/v3")
    by_id = {"auth_url": bare, "user_id": ids["demo_user"], "password": PASSWORD, "project_id": ids["demo_project"]}
    by_name = {"auth_url": keystone, "username": "demo", "user_domain_id": "default",
               "application_credential_name": "full",
               "application_credential_secret": ids["credentials"]["full"]["secret"]}
    wrong = {key: value for key, value in password("demo", "demo").items() if key != "region_name"}
    entries = {
        "admin": password("admin", "admin"),
        "demo": password("demo", "demo"),
        "reader": password("reader", "demo"),
        "other": password("other", "other"),
        "by-id": {**shared, "auth": by_id},
        "credential": credential("full"),
        "credential-by-name": {**shared, "auth_type": "v3applicationcredential", "auth": by_name},
        "credential-reader": credential("reader"),
        "credential-expired": credential(EXPIRED),
        "wrong-password": password("demo", "demo", password="not-the-password"),
        "wrong-region": {**wrong, "region_name": "regionone"},
        "wrong-interface": {**password("demo", "demo"), "interface": "admin"},
        "internal": {**password("demo", "demo"), "interface": ["admin", "internalURL"]},
        "direct": {**password("demo", "demo"), "image_endpoint_override": f"{glance}/v2"},
    }
    # JSON is YAML.
    with open(os.open(f"{folder}/clouds.yaml", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"clouds": entries}, file, indent=2)
    with open(f"{folder}/endpoints.json", "w") as file:
        json.dump({"keystone": keystone, "glance": glance, "ca": shared.get("cacert"), **ids}, file, indent=1)


if __name__ == "__main__":
    command, arguments = sys.argv[1], sys.argv[2:]
    known = {"port": port, "password": lambda: print(PASSWORD), "wait": wait, "fill": fill, "expire": expire,
             "endpoints": endpoints, "clouds": clouds}
    known[command](*arguments)
