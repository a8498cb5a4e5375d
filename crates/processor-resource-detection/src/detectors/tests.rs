//! Tests of the detectors alone: what is asked is answered from a table.

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};

use otelcore_http::Bytes;

use crate::answers::{Answer, Answers, Halt, Interface, KnownAnswers, Question, Reply, Response};
use crate::config::ResourceDetectionConfig;
use crate::detector_kind::DetectorKind;

type Table<'a> = &'a [(&'a str, &'a str)];

fn config(yaml: &str) -> ResourceDetectionConfig {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    let section = Section::new(Some(&node), "processors::resource_detection", &d);
    ResourceDetectionConfig::read_section(section, &ResourceDetectionConfig::default())
}

/// Files by path, responses by `METHOD URL`, and `UNIX path target`; what is not in the table is not there.
fn answer(question: &Question, table: Table<'_>) -> Answer {
    let find =
        |key: &str| table.iter().find(|(known, _)| *known == key).map(|(_, value)| Bytes::from((*value).to_owned()));
    let respond = |body: Option<Bytes>| match body {
        Some(body) => Reply::Http(Response { status: 200, body, metadata_flavor: String::new() }),
        None => Reply::Http(Response { status: 404, ..Response::default() }),
    };
    match question {
        Question::File(path) => find(path).map(Reply::Bytes).ok_or_else(|| format!("open {path}: no such file")),
        Question::Interfaces => Ok(Reply::Interfaces(vec![
            Interface { name: "lo".to_owned(), is_up: true, is_loopback: true, ..Interface::default() },
            Interface {
                name: "eth0".to_owned(),
                is_up: true,
                mac: "02-42-AC-11-00-02".to_owned(),
                addresses: vec![[10, 0, 0, 7].into()],
                ..Interface::default()
            },
        ])),
        Question::Http(request) => Ok(respond(find(&format!("{} {}", request.method, request.url)))),
        Question::Unix(path, target) => Ok(respond(find(&format!("UNIX {path} {target}")))),
    }
}

/// The attributes as text, with a line for each warning.
fn detect(kind: DetectorKind, yaml: &str, env: Table<'_>, table: Table<'_>) -> Result<String, String> {
    let config = config(yaml);
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let mut known = KnownAnswers::default();
    loop {
        match super::detect(
            kind,
            &config,
            &super::TagPatterns::new(&config),
            &mut Answers::new(&mut known, &env, false),
        ) {
            Ok(resource) => {
                let warnings = known.take_warnings().into_iter().map(|warning| format!("\n{warning}"));
                return Ok(resource.to_text() + &warnings.collect::<String>());
            }
            Err(Halt::Failed(error)) => return Err(error),
            Err(Halt::Waiting) => {
                let reply = answer(known.asked().unwrap(), table);
                known.answer(reply);
            }
        }
    }
}

#[test]
fn env_list_of_pairs_becomes_attributes() {
    let env = |text| detect(DetectorKind::Env, "{}", &[("OTEL_RESOURCE_ATTRIBUTES", text)], &[]);
    assert_eq!(env("a=b").unwrap(), "a=b");
    assert_eq!(env(" a = b , c=d%2Ce+f, g= ").unwrap(), "a=b, c=d,e f, g=");
    assert_eq!(env("").unwrap(), "");
    assert_eq!(env("a").unwrap_err(), "invalid resource format: \"a\"");
    assert_eq!(env("a=b,c").unwrap_err(), "invalid resource format, invalid text: \"c\"");
    assert!(env("a=%zz").unwrap_err().contains("invalid URL escape \"%zz\""));
    assert_eq!(detect(DetectorKind::Env, "{}", &[("OTEL_RESOURCE", "x=y")], &[]).unwrap(), "x=y");
}

#[test]
fn system_name_of_the_host_is_that_of_the_first_source_with_one() {
    let system = |yaml: &str, hosts: &str| {
        let files = [("/proc/sys/kernel/hostname", "web-1\n"), ("/etc/hosts", hosts)];
        detect(DetectorKind::System, yaml, &[], &files).map(|text| text.replace(", os.type=linux", ""))
    };
    let hosts = "127.0.0.1 localhost\n10.0.0.7 web-1.example.com web-1 # own\n";
    assert_eq!(system("{}", hosts).unwrap(), "host.name=web-1.example.com");
    assert_eq!(system("{}", "127.0.0.1 localhost").unwrap(), "host.name=web-1");
    assert_eq!(system("system: {hostname_sources: [os]}", hosts).unwrap(), "host.name=web-1");
    assert_eq!(system("system: {hostname_sources: [lookup]}", hosts).unwrap(), "host.name=web-1.example.com");
    assert_eq!(
        system("system: {hostname_sources: [cname]}", "").unwrap_err(),
        "all hostname sources failed to get hostname"
    );
}

#[test]
fn system_attributes_are_read_from_files() {
    let yaml = "system:\n  hostname_sources: [os]\n  resource_attributes:\n    host.name: {enabled: false}\n    \
                os.type: {enabled: false}\n    os.description: {enabled: true}\n    os.version: {enabled: true}\n    \
                os.name: {enabled: true}\n    host.id: {enabled: true}\n    host.ip: {enabled: true}\n    \
                host.mac: {enabled: true}\n    host.cpu.model.name: {enabled: true}\n    \
                host.cpu.cache.l2.size: {enabled: true}\n";
    let files = [
        ("/proc/sys/kernel/hostname", "web-1\n"),
        ("/proc/sys/kernel/ostype", "Linux\n"),
        ("/proc/sys/kernel/osrelease", "6.1.0\n"),
        ("/proc/sys/kernel/version", "#1 SMP\n"),
        ("/etc/debian_version", "12.5\n"),
        ("/etc/os-release", "PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION=\"12 (bookworm)\"\n"),
        ("/etc/machine-id", "f00d\n"),
        ("/proc/cpuinfo", "processor\t: 0\nmodel name\t: A\ncache size\t: 512 KB\n\nprocessor\t: 1\nmodel name\t: B\n"),
    ];
    let text = detect(DetectorKind::System, yaml, &[], &files).unwrap();
    let arch = std::env::consts::ARCH;
    assert_eq!(
        text,
        format!(
            "os.version=12.5, os.name=debian, \
             os.description=Debian GNU/Linux 12 (bookworm) (Linux web-1 6.1.0 #1 SMP {arch}), host.id=f00d, \
             host.ip=[10.0.0.7], host.mac=[02-42-AC-11-00-02], host.cpu.model.name=A, host.cpu.cache.l2.size=512"
        )
    );
}

const DOCUMENT: &str = r#"{"region": "us-west-2", "accountId": "42", "availabilityZone": "us-west-2a",
    "instanceId": "i-1", "imageId": "ami-1", "instanceType": "c4"}"#;

#[test]
fn ec2_attributes_and_tags_are_those_of_the_metadata_service() {
    let env = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://imds")];
    let table = [
        ("PUT http://imds/latest/api/token", "t"),
        ("GET http://imds/latest/meta-data/instance-id", "i-1"),
        ("GET http://imds/latest/meta-data/hostname", "ip-1"),
        ("GET http://imds/latest/dynamic/instance-identity/document", DOCUMENT),
        ("GET http://imds/latest/meta-data/tags/instance", "Name\nother"),
        ("GET http://imds/latest/meta-data/tags/instance/Name", "web"),
    ];
    let yaml = "ec2: {tags: ['^Na'], tags_from_imds: true}";
    assert_eq!(
        detect(DetectorKind::Ec2, yaml, &env, &table).unwrap(),
        "cloud.provider=aws, cloud.platform=aws_ec2, cloud.region=us-west-2, cloud.account.id=42, \
         cloud.availability_zone=us-west-2a, host.id=i-1, host.image.id=ami-1, host.type=c4, host.name=ip-1, \
         ec2.tag.Name=web"
    );
    assert_eq!(detect(DetectorKind::Ec2, "{}", &env, &[]).unwrap(), "");
    assert!(detect(DetectorKind::Ec2, "ec2: {fail_on_missing_metadata: true}", &env, &[]).is_err());
}

#[test]
fn ecs_attributes_are_those_of_the_task() {
    let env = [("ECS_CONTAINER_METADATA_URI_V4", "http://ecs/v4/x")];
    let task = r#"{"Cluster": "main", "TaskARN": "arn:aws:ecs:us-west-2:42:task/main/t-1", "Family": "web",
        "Revision": "3", "LaunchType": "FARGATE", "Containers": [{"DockerId": "own"}, {"DockerId": "app", "Type": "NORMAL",
        "KnownStatus": "RUNNING", "LogDriver": "awslogs", "LogOptions": {"awslogs-group": "g", "awslogs-region": "r",
        "awslogs-stream": "s"}}]}"#;
    let table = [("GET http://ecs/v4/x/task", task), ("GET http://ecs/v4/x", r#"{"DockerId": "own"}"#)];
    assert_eq!(
        detect(DetectorKind::Ecs, "{}", &env, &table).unwrap(),
        "cloud.provider=aws, cloud.platform=aws_ecs, aws.ecs.task.arn=arn:aws:ecs:us-west-2:42:task/main/t-1, \
         aws.ecs.task.family=web, aws.ecs.task.revision=3, cloud.account.id=42, cloud.region=us-west-2, \
         aws.ecs.task.id=t-1, aws.ecs.cluster.arn=arn:aws:ecs:us-west-2:42:cluster/main, aws.ecs.launchtype=fargate, \
         aws.log.group.names=[g], aws.log.group.arns=[arn:aws:logs:r:42:log-group:g], aws.log.stream.names=[s], \
         aws.log.stream.arns=[arn:aws:logs:r:42:log-group:g:log-stream:s]"
    );
    assert_eq!(detect(DetectorKind::Ecs, "{}", &[], &[]).unwrap(), "");
}

#[test]
fn docker_attributes_are_those_of_the_daemon() {
    let table = [("UNIX /var/run/docker.sock /info", r#"{"Name": "node-1", "OSType": "linux"}"#)];
    assert_eq!(detect(DetectorKind::Docker, "{}", &[], &table).unwrap(), "host.name=node-1, os.type=linux");
    assert!(detect(DetectorKind::Docker, "{}", &[], &[]).unwrap_err().contains("status 404"));
}

#[test]
fn gcp_machine_has_its_zone_and_instance_group() {
    let env = [("GCE_METADATA_HOST", "gce")];
    let url = |path: &str| format!("GET http://gce/computeMetadata/v1/{path}");
    let values = [
        ("project/project-id", "p"),
        ("instance/machine-type", "projects/1/machineTypes/n1"),
        ("instance/zone", "projects/1/zones/us-east1-b"),
        ("instance/id", "77"),
        ("instance/name", "vm"),
        ("instance/hostname", "vm.c.p.internal"),
        ("instance/attributes/created-by", "projects/1/zones/us-east1-b/instanceGroupManagers/g"),
    ];
    let table: Vec<(String, &str)> = values.iter().map(|(path, value)| (url(path), *value)).collect();
    let table: Vec<(&str, &str)> = table.iter().map(|(key, value)| (key.as_str(), *value)).collect();
    assert_eq!(
        detect(DetectorKind::Gcp, "{}", &env, &table).unwrap(),
        "cloud.provider=gcp, cloud.account.id=p, cloud.platform=gcp_compute_engine, cloud.region=us-east1, \
         cloud.availability_zone=us-east1-b, host.type=projects/1/machineTypes/n1, host.id=77, host.name=vm, \
         gcp.gce.instance_group_manager.name=g, gcp.gce.instance_group_manager.zone=us-east1-b"
    );
    assert_eq!(detect(DetectorKind::Gcp, "{}", &[], &[]).unwrap(), "");
}

#[test]
fn azure_attributes_are_those_of_the_machine() {
    let url = "GET http://169.254.169.254/metadata/instance/compute?api-version=2020-09-01&format=json";
    let compute = r#"{"location": "westeurope", "name": "vm", "vmId": "id", "vmSize": "D2", "subscriptionId": "sub",
        "resourceGroupName": "MC_group_cluster_westeurope", "zone": "1", "tagsList": [{"name": "team", "value": "x"}]}"#;
    assert_eq!(
        detect(DetectorKind::Azure, "azure: {tags: [team]}", &[], &[(url, compute)]).unwrap(),
        "cloud.provider=azure, cloud.platform=azure.vm, host.name=vm, cloud.region=westeurope, host.id=id, \
         cloud.account.id=sub, azure.vm.name=vm, azure.vm.size=D2, azure.resourcegroup.name=MC_group_cluster_westeurope, \
         azure.tag.team=x"
    );
    let aks = "aks: {resource_attributes: {k8s.cluster.name: {enabled: true}}}";
    assert_eq!(
        detect(DetectorKind::Aks, aks, &[("KUBERNETES_SERVICE_HOST", "k")], &[(url, compute)]).unwrap(),
        "cloud.provider=azure, cloud.platform=azure.aks, k8s.cluster.name=cluster"
    );
    assert_eq!(detect(DetectorKind::Azure, "{}", &[], &[]).unwrap(), "");
}

#[test]
fn k8s_api_asks_for_the_node_and_the_cluster() {
    let env =
        [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443"), ("K8S_NODE_NAME", "node-1")];
    let table = [
        ("/var/run/secrets/kubernetes.io/serviceaccount/token", "secret\n"),
        ("GET https://10.0.0.1:443/api/v1/nodes/node-1", r#"{"metadata": {"uid": "u", "name": "node-1"}}"#),
        ("GET https://10.0.0.1:443/api/v1/namespaces/kube-system", r#"{"metadata": {"uid": "c"}}"#),
    ];
    assert_eq!(
        detect(DetectorKind::K8sApi, "{}", &env, &table).unwrap(),
        "k8s.node.uid=u, k8s.node.name=node-1, k8s.cluster.uid=c"
    );
    assert!(detect(DetectorKind::K8sApi, "{}", &[], &[]).unwrap_err().contains("K8S_NODE_NAME"));
}

#[test]
fn eks_is_recognized_by_the_issuer_of_tokens() {
    let env = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443"), ("NODE", "n")];
    let issuer = ("GET https://10.0.0.1:443/.well-known/openid-configuration", r#"{"issuer": "https://oidc.eks.x"}"#);
    let token = ("/var/run/secrets/kubernetes.io/serviceaccount/token", "secret");
    let node = ("GET https://10.0.0.1:443/api/v1/nodes/n", r#"{"spec": {"providerID": "aws:///us-west-2a/i-1"}}"#);
    assert_eq!(
        detect(DetectorKind::Eks, "{}", &env, &[issuer, token]).unwrap(),
        "cloud.provider=aws, cloud.platform=aws_eks"
    );
    let yaml = "eks: {node_from_env_var: NODE, resource_attributes: {cloud.region: {enabled: true}}}";
    assert_eq!(
        detect(DetectorKind::Eks, yaml, &env, &[issuer, token, node]).unwrap(),
        "cloud.provider=aws, cloud.platform=aws_eks, cloud.region=us-west-2"
    );
    assert_eq!(detect(DetectorKind::Eks, "{}", &[], &[]).unwrap(), "");
}

#[test]
fn answers_beyond_the_limit_of_bytes_are_errors() {
    let mut known = KnownAnswers::default();
    let env = |_: &str| None;
    let mut sizes = Vec::new();
    for n in 0..6 {
        let path = format!("/file-{n}");
        assert_eq!(Answers::new(&mut known, &env, false).file(path.as_str()), Err(Halt::Waiting));
        known.answer(Ok(Reply::Bytes(vec![0; 1 << 20].into())));
        sizes.push(Answers::new(&mut known, &env, false).file(path).unwrap().map_or(0, |bytes| bytes.len()));
    }
    assert_eq!(sizes, [1 << 20, 1 << 20, 1 << 20, 1 << 20, 0, 0]);
}

#[test]
fn consul_attributes_are_those_of_the_agent() {
    const AGENT: &str =
        r#"{"Config": {"NodeName": "n", "Datacenter": "dc1", "NodeID": "u"}, "Meta": {"rack": "r1", "other": "o"}}"#;
    let url = "GET http://127.0.0.1:8500/v1/agent/self";
    let found = |yaml: &str, env: Table<'_>, url: &str| detect(DetectorKind::Consul, yaml, env, &[(url, AGENT)]);
    assert_eq!(found("{}", &[], url).unwrap(), "host.name=n, cloud.region=dc1, host.id=u");
    let yaml = "consul: {meta: {rack: , absent: 1}, resource_attributes: {host.id: {enabled: false}}}";
    assert_eq!(found(yaml, &[], url).unwrap(), "host.name=n, cloud.region=dc1, rack=r1");
    let yaml = "consul: {address: 'https://c:1/prefix', datacenter: 'd 1', namespace: 'a&b'}";
    let asked = "GET https://c:1/prefix/v1/agent/self?dc=d+1&ns=a%26b&partition=p";
    assert!(found(yaml, &[("CONSUL_PARTITION", "p"), ("CONSUL_NAMESPACE", "x")], asked).is_ok());
    let env = [("CONSUL_HTTP_ADDR", "c:2"), ("CONSUL_HTTP_SSL", "true")];
    assert!(found("{}", &env, "GET https://c:2/v1/agent/self").is_ok());
    let env = [("CONSUL_HTTP_SSL", "1"), ("CONSUL_CACERT", "/a")];
    assert!(found("{}", &env, url).unwrap_err().contains("CONSUL_CACERT is not supported yet"));
    assert_eq!(
        found("{}", &[], "").unwrap_err(),
        "failed to get consul metadata: failed to get local agent information: Unexpected response code: 404 ()"
    );
    for (agent, error) in [
        ("{}", "failed getting consul agent configuration. was 'Config' returned by consul?"),
        (r#"{"Config": {}}"#, "failed getting consul hostname. was 'NodeName' returned by consul?"),
        (r#"{"Config": {"NodeName": "n"}}"#, "failed getting consul datacenter. was 'Datacenter' returned by consul?"),
        (
            r#"{"Config": {"NodeName": "n", "Datacenter": "d", "NodeID": 1}}"#,
            "failed getting node ID. was 'NodeID' returned by consul?",
        ),
    ] {
        let found = detect(DetectorKind::Consul, "{}", &[], &[(url, agent)]).unwrap_err();
        assert_eq!(found, format!("failed to get consul metadata: {error}"));
    }
}

/// The header fields of the request that a detector makes.
fn request_headers(kind: DetectorKind, yaml: &str, env: Table<'_>, files: Table<'_>) -> Result<String, String> {
    let config = config(yaml);
    let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    let (mut known, tags) = (KnownAnswers::default(), super::TagPatterns::new(&config));
    loop {
        let result = super::detect(kind, &config, &tags, &mut Answers::new(&mut known, &env, false));
        if let Err(Halt::Failed(error)) = result {
            return Err(error);
        }
        if let Some(Question::Http(request)) = known.asked() {
            let fields = request.headers.iter().map(|(name, value)| format!("{name}: {value}"));
            return Ok(fields.collect::<Vec<_>>().join(", "));
        }
        let reply = answer(known.asked().unwrap(), files);
        known.answer(reply);
    }
}

#[test]
fn consul_token_is_that_of_the_first_source_with_one() {
    let headers = |yaml: &str, env: Table<'_>| {
        let files = [("/t", " file \n"), ("/env", "of-env-file"), ("/empty", "\n")];
        request_headers(DetectorKind::Consul, yaml, env, &files)
    };
    let env = [("CONSUL_HTTP_TOKEN_FILE", "/env"), ("CONSUL_HTTP_TOKEN", "of-env")];
    assert_eq!(headers("{}", &[]).unwrap(), "");
    assert_eq!(headers("consul: {token: a}", &[]).unwrap(), "X-Consul-Token: a");
    assert_eq!(headers("consul: {token: a, token_file: /t}", &env).unwrap(), "X-Consul-Token: file");
    assert_eq!(headers("consul: {token: a, token_file: /empty}", &env).unwrap(), "X-Consul-Token: a");
    assert_eq!(headers("consul: {token: a}", &env).unwrap(), "X-Consul-Token: a");
    assert_eq!(headers("{}", &env).unwrap(), "X-Consul-Token: of-env-file");
    assert_eq!(headers("{}", &env[1..]).unwrap(), "X-Consul-Token: of-env");
    assert_eq!(headers("{}", &[("CONSUL_HTTP_AUTH", "u:p")]).unwrap(), "Authorization: Basic dTpw");
    assert_eq!(headers("{}", &[("CONSUL_HTTP_AUTH", "ab")]).unwrap(), "Authorization: Basic YWI6");
    assert_eq!(
        headers("consul: {token_file: /none}", &[]).unwrap_err(),
        "failed creating consul client: Error loading token file /none : open /none: no such file"
    );
}

#[test]
fn openshift_attributes_are_those_of_the_infrastructure() {
    const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let env = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let path = "/apis/config.openshift.io/v1/infrastructures/cluster/status";
    let in_cluster = format!("GET https://10.0.0.1:443{path}");
    let found = |status: &str| {
        let body = format!(r#"{{"status": {status}}}"#);
        detect(DetectorKind::OpenShift, "{}", &env, &[(TOKEN, "t"), (&in_cluster, &body)])
    };
    let status = r#"{"infrastructureName": "c", "platformStatus": {"type": "AWS", "aws": {"region": "US-east-1"}}}"#;
    assert_eq!(
        found(status).unwrap(),
        "k8s.cluster.name=c, cloud.provider=aws, cloud.platform=aws_openshift, cloud.region=us-east-1"
    );
    for (platform, expected) in [
        (
            r#"{"type": "Azure", "azure": {"cloudName": "AzurePublicCloud"}}"#,
            "cloud.provider=azure, cloud.platform=azure.openshift, cloud.region=azurepubliccloud",
        ),
        (r#"{"type": "GCP"}"#, "cloud.provider=gcp, cloud.platform=gcp_openshift, cloud.region="),
        (
            r#"{"type": "IBMCloud", "ibmcloud": {"location": "eu"}}"#,
            "cloud.provider=ibm_cloud, cloud.platform=ibm_cloud_openshift, cloud.region=eu",
        ),
        (r#"{"type": "OpenStack", "openstack": {"cloudName": "x"}}"#, "cloud.region=x"),
        (r#"{"type": "None"}"#, ""),
    ] {
        assert_eq!(found(&format!(r#"{{"platformStatus": {platform}}}"#)).unwrap(), expected, "{platform}");
    }
    let configured = format!("GET http://api:1{path}");
    let yaml = "openshift: {address: 'http://api:1', token: t}";
    let table = [(configured.as_str(), r#"{"status": {"infrastructureName": "c"}}"#)];
    assert_eq!(detect(DetectorKind::OpenShift, yaml, &[], &table).unwrap(), "k8s.cluster.name=c");
    assert_eq!(request_headers(DetectorKind::OpenShift, yaml, &[], &[]).unwrap(), "Authorization: Bearer t");
    assert_eq!(
        detect(DetectorKind::OpenShift, yaml, &[], &[]).unwrap(),
        "\nOpenShift detector metadata retrieval failed: the response has status 404"
    );
    assert!(detect(DetectorKind::OpenShift, "{}", &env, &[]).unwrap_err().contains("no such file"));
    let outside = detect(DetectorKind::OpenShift, "{}", &[], &[(TOKEN, "t")]).unwrap_err();
    assert!(outside.starts_with("could not extract openshift api host"), "{outside}");
}
