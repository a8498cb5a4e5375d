//! A Kubernetes API server and its etcd, from the programs that `scripts/api-server` builds. There are no controllers and no
//! nodes: what those would write, a test writes.
#![allow(dead_code, reason = "not every test that has a cluster uses all of it")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::*;

/// Where a pod has its token, and the certificates of the API server.
const ACCOUNT: &str = "/run/secrets/kubernetes.io/serviceaccount";

/// Addresses of the machine that are not loopback addresses, which the API server takes for none of an endpoint.
pub(crate) const ADDRESSES: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];

/// A program that `scripts/api-server` builds.
fn program(name: &str) -> Command {
    Command::new(Path::new(&std::env::var("OTELCORE_KUBERNETES").expect("scripts/api-server runs this")).join(name))
}

pub(crate) struct Cluster {
    pub dir: PathBuf,
    port: u16,
    etcd_port: u16,
    api: Option<Process>,
    _etcd: Process,
}

impl Cluster {
    /// An empty cluster. Every request needs a right.
    pub(crate) fn start(name: &str) -> Self {
        let dir = empty_test_dir(name);
        let [port, etcd_port, peer_port] = [free_port(), free_port(), free_port()];
        let (client, peer) = (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        let mut etcd = program("etcd");
        etcd.arg("--data-dir").arg(dir.join("etcd")).args(["--unsafe-no-fsync", "--log-level", "error"]).args([
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ]);
        let mut etcd = Process::start(&mut etcd, &dir.join("etcd.log"));
        wait_for_listener(&format!("127.0.0.1:{etcd_port}"), &mut etcd);
        let key = dir.join("accounts.key");
        let made =
            Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").stderr(Stdio::null()).status();
        assert!(made.unwrap().success());
        std::fs::write(dir.join("tokens"), "admin-token,admin,admin,system:masters\n").unwrap();
        let mut cluster = Self { dir, port, etcd_port, api: None, _etcd: etcd };
        cluster.start_api_server();
        cluster
    }

    fn start_process(&self, port: u16, name: &str) -> Process {
        let key = self.dir.join("accounts.key").display().to_string();
        let mut command = program("kube-apiserver");
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={port}"),
            format!("--cert-dir={}", self.dir.join("certs").display()),
            format!("--token-auth-file={}", self.dir.join("tokens").display()),
            format!("--service-account-key-file={key}"),
            format!("--service-account-signing-key-file={key}"),
        ]);
        command.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://localhost",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
        ]);
        let process = Process::start(&mut command, &self.dir.join(format!("{name}.log")));
        let until = Instant::now() + Duration::from_secs(120);
        while !self.kubectl_at(port).args(["get", "--raw=/readyz"]).output().unwrap().status.success() {
            assert!(Instant::now() < until, "the API server is not ready:\n{}", process.log_text());
            std::thread::sleep(Duration::from_millis(200));
        }
        process
    }

    pub(crate) fn start_api_server(&mut self) {
        self.api = Some(self.start_process(self.port, "api-server"));
    }

    /// Ends the API server; what it has stored stays.
    pub(crate) fn stop_api_server(&mut self) {
        self.api = None;
    }

    /// Another API server of the cluster, while that of the collectors is stopped.
    pub(crate) fn other_api_server(&self) -> OtherServer<'_> {
        let port = free_port();
        OtherServer { cluster: self, port, _process: self.start_process(port, "other-api-server") }
    }

    fn kubectl_at(&self, port: u16) -> Command {
        let mut command = program("kubectl");
        command.args([&format!("--server=https://127.0.0.1:{port}"), "--token=admin-token"]);
        // The certificates are made by the first start.
        command.args(["--insecure-skip-tls-verify", "--request-timeout=20s"]).env("KUBECONFIG", "/dev/null");
        command.stdin(Stdio::null());
        command
    }

    /// Runs `kubectl` as an administrator; returns its output.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.run(self.port, arguments, "")
    }

    /// What a watch after this version of the pods of `shop` gets in a second: changes, or an error.
    pub(crate) fn watch_pods_after(&self, version: &str) -> String {
        let path = format!("/api/v1/namespaces/shop/pods?watch=true&timeoutSeconds=1&resourceVersion={version}");
        let output = self.kubectl_at(self.port).args(["get", &format!("--raw={path}")]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn run(&self, port: u16, arguments: &[&str], input: &str) -> String {
        let mut command = self.kubectl_at(port);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kubectl {arguments:?}: {}\n{input}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Creates or changes objects.
    pub(crate) fn apply(&self, manifest: &str) {
        self.run(self.port, &["apply", "--server-side", "--force-conflicts", "-f", "-"], manifest);
    }

    /// Sets the status of an object, which a controller or a kubelet would set.
    pub(crate) fn set_status(&self, object: &str, status: &str) {
        let patch = format!("--patch={{\"status\": {status}}}");
        self.kubectl(&["patch", "--subresource=status", "--type=merge", "--namespace=shop", object, &patch]);
    }

    /// A service account that may do this, in all namespaces. `rules` are those of a `ClusterRole`.
    pub(crate) fn add_account(&self, name: &str, rules: &str) {
        self.apply(&format!(
            "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {name}, namespace: default}}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: {name}}}\nrules: {rules}\n---\n\
             apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: {name}}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {name}}}\n\
             subjects: [{{kind: ServiceAccount, name: {name}, namespace: default}}]\n"
        ));
    }

    fn token(&self, account: &str) -> String {
        self.kubectl(&["create", "token", "--namespace=default", account]).trim().to_owned()
    }

    /// Puts the token of an account, and the certificates, where a pod has them. Tests that use it can't run at the same time.
    pub(crate) fn mount_account(&self, account: &str) {
        std::fs::create_dir_all(ACCOUNT).unwrap();
        let write = |name: &str, text: &[u8]| std::fs::write(Path::new(ACCOUNT).join(name), text).unwrap();
        write("token", self.token(account).as_bytes());
        write("namespace", b"default");
        write("ca.crt", &std::fs::read(self.dir.join("certs/apiserver.crt")).unwrap());
    }

    /// Writes a kubeconfig with the token of an account.
    pub(crate) fn kubeconfig(&self, account: &str) -> PathBuf {
        let path = self.dir.join(format!("kubeconfig-{account}"));
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: k, user: u}}}}], \
             clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:{}', certificate-authority: '{}'}}}}], \
             users: [{{name: u, user: {{token: '{}'}}}}]}}\n",
            self.port,
            self.dir.join("certs/apiserver.crt").display(),
            self.token(account)
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a collector as in a pod of the cluster, with these variables.
    pub(crate) fn start_collector(&self, name: &str, config: &str, variables: &[(&str, &str)]) -> Process {
        let path = self.dir.join(format!("{name}.yaml"));
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(otelcore());
        command.arg(format!("--config={}", path.display()));
        command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").env("KUBERNETES_SERVICE_PORT", self.port.to_string());
        command.env_remove("KUBECONFIG").envs(variables.iter().copied());
        Process::start(&mut command, &self.dir.join(format!("{name}.log")))
    }
}

/// See [`Cluster::other_api_server`].
pub(crate) struct OtherServer<'c> {
    cluster: &'c Cluster,
    port: u16,
    _process: Process,
}

impl OtherServer<'_> {
    /// Runs `kubectl` as an administrator, with this input.
    pub(crate) fn kubectl(&self, arguments: &[&str], input: &str) -> String {
        self.cluster.run(self.port, arguments, input)
    }
}
