//! Authenticators in a `World` with files and a clock only.

mod basic;
mod bearer;
mod headers_setter;

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use otelcore_config::declare::Config;
use otelcore_config::{Diagnostics, Section, from_yaml};
use otelcore_pipeline::{
    Authentication, Capability, CheckStep, ClientAuth, Extension, Factory, OfferedCapabilities, OutgoingHeaders,
    RequestProtocol, ServerAuth,
};
use otelcore_testkit::{ParsedConfig, TestContext, TestWorld, extension, parse_config};

fn read_config<T: Config>(yaml: &str) -> T {
    let d = Diagnostics::new();
    let node = from_yaml(yaml, &d).unwrap();
    T::read_section(Section::new(Some(&node), "extensions::test", &d), &T::default())
}

fn parse(factory: &dyn Factory, yaml: &str) -> ParsedConfig {
    parse_config(factory, factory.info().type_name, yaml)
}

/// An extension, its `World` and its log.
struct Fixture {
    world: TestWorld,
    extension: Box<dyn Extension>,
    context: TestContext,
}

impl Fixture {
    fn new(factory: &dyn Factory, yaml: &str) -> Self {
        let context = TestContext::new();
        let component = context.create(factory, factory.info().type_name, yaml);
        let extension = extension(component.unwrap_or_else(|e| panic!("{e}")));
        Self { world: TestWorld::new(), extension, context }
    }

    fn with_file(mut self, path: &str, text: &str) -> Self {
        self.write_file(path, text);
        self
    }

    fn write_file(&mut self, path: &str, text: &str) {
        self.world.disk().write(path, text);
    }

    fn start(&mut self) -> Result<(), String> {
        self.extension.start(&mut self.world.cx()).map_err(|e| e.to_string())
    }

    fn started(mut self) -> Self {
        self.start().unwrap();
        self
    }

    fn advance(&mut self, time: Duration) {
        let extension = &mut self.extension;
        self.world.run_for(time, |cx, local, event| extension.handle_event(cx, local, event));
    }

    /// Authenticates a request with the given header fields, names in lower case. A check runs immediately.
    fn authenticate(&mut self, fields: &[(&str, &[u8])]) -> Result<(), String> {
        let auth = self.offered::<dyn ServerAuth>().unwrap();
        let header = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| Cow::Borrowed(*v));
        let cx = &mut self.world.cx();
        let check = match auth.authenticate(cx, &header) {
            Authentication::Granted => return Ok(()),
            Authentication::Refused(why) => return Err(why.0),
            Authentication::Pending(check) => check,
        };
        let result = match check.begin(cx) {
            CheckStep::Ended(result) => result,
            CheckStep::Compute(compute) => check.end(cx, compute()),
        };
        result.map_err(|why| why.0)
    }

    fn offered<C: Capability + ?Sized>(&self) -> Option<Rc<C>> {
        let mut offered = OfferedCapabilities::default();
        self.extension.offer_capabilities(&mut offered);
        offered.get()
    }

    fn authorize(&mut self, value: &str) -> Result<(), String> {
        self.authenticate(&[("authorization", value.as_bytes())])
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, String> {
        let auth = self.offered::<dyn ClientAuth>().unwrap();
        let mut headers = OutgoingHeaders::new(RequestProtocol::Grpc, None, Vec::new());
        auth.apply(&mut self.world.cx(), &mut headers).map_err(|why| why.0)?;
        Ok(headers.into_fields().into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The only header that a client sends.
    fn sent_header(&mut self) -> String {
        let [(name, value)] = &self.headers().unwrap()[..] else { panic!("more than one header") };
        format!("{name}: {value}")
    }

    fn take_log_lines(&self) -> Vec<String> {
        self.context.log.take_lines()
    }
}
