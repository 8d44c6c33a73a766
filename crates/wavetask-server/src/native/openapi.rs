//! The native API for programs: an OpenAPI document whose schemas are derived from the wire types themselves.
//!
//! The table of operations is written here once more, beside the routes; a test holds it against the routes that
//! are really there and against the table in the protocol's documentation, another holds real answers against the
//! schemas.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref,
    RefOr, Required, ResponseBuilder,
};
use utoipa::{IntoParams, ToSchema};
use wavetask_protocol::native::{
    ApiError, BatchList, BatchQuery, CreatedKey, EventPage, EventQuery, FetchRequest, KeyList, KeySummary,
    LogPart, LogQuery, MemberList, MemberQuery, NewKey, PACK_TYPE, PackAnswer, PackHeld, PackPart, PartEnd,
    PartRequest, Quota, RESULTS_PART, ResultAnswer, ResultsRequest, ServerStatus, SubmitAnswer,
    SubmitRequest, TASKS_START, TaskAnswers, TaskDetails, TaskFilter, TaskList, TaskSelection, TaskSummary,
};

use super::Routes;

/// Where the document is.
const PATH: &str = "/api/v1/openapi.json";

/// Name of the way to show a key.
const KEY: &str = "key";

/// The routes of this part. No key is asked for: the document says nothing of anybody.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.get(PATH, document)
}

async fn document() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        // A tree of texts, which always can be written.
        serde_json::to_vec(&Description::all().document()).unwrap_or_default().into()
    });
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone()).into_response()
}

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// What is written down so far.
#[derive(Default)]
struct Description {
    schemas: Schemas,
    operations: Vec<(Method, &'static str, OperationBuilder)>,
}

impl Description {
    fn all() -> Self {
        let mut all = Self::default();
        all.on(Method::GET, "/api/v1/status", "How the server is").answers::<ServerStatus>();
        all.on(Method::GET, "/api/v1/tasks", "Tasks, newest first")
            .asks::<TaskFilter>()
            .answers::<TaskList>();
        all.on(Method::GET, "/api/v1/tasks/{task}", "One task").answers::<TaskSummary>();
        all.on(Method::DELETE, "/api/v1/tasks/{task}", "Deletes a task; a running one is stopped first")
            .answers_nothing();
        all.on(Method::GET, "/api/v1/tasks/{task}/simulation", "The simulation of a task")
            .answers_any("Its text, and descriptors of its arrays");
        all.on(Method::GET, "/api/v1/tasks/{task}/log", "A part of a task's log")
            .asks::<LogQuery>()
            .answers::<LogPart>();
        all.on(
            Method::POST,
            "/api/v1/tasks/{task}/cancel",
            "Stops a task; one that has ended is left as it is",
        )
        .answers::<TaskSummary>();
        for (path, what) in [
            ("/api/v1/tasks/status", "Looks at tasks"),
            (TASKS_START, "Starts tasks that were submitted with `hold`"),
            ("/api/v1/tasks/cancel", "Stops tasks"),
            ("/api/v1/tasks/retry", "Runs tasks again that ended without success"),
            ("/api/v1/tasks/delete", "Deletes tasks with their results"),
        ] {
            all.on(Method::POST, path, what).takes::<TaskSelection>().answers::<TaskAnswers>();
        }
        all.on(Method::POST, "/api/v1/tasks/details", "What the tidy3d protocol says of tasks, many at once")
            .takes::<TaskSelection>()
            .answers::<TaskDetails>();
        all.on(Method::GET, "/api/v1/events", "What happened, held until there is something")
            .asks::<EventQuery>()
            .answers::<EventPage>();
        all.on(Method::GET, "/api/v1/events/stream", "What happens: server-sent events, each an `EventPage`")
            .asks::<EventQuery>()
            .header("last-event-id", "Go on after the message with this `id`; goes before `after`")
            .answers_as::<EventPage>(
                "text/event-stream",
                "Each `data` is an `EventPage`, its `id` the page's `last`",
            );
        all.on(
            Method::POST,
            "/api/v1/batches",
            "Submits a part of a batch; `content-encoding: zstd` is welcome",
        )
        .takes::<SubmitRequest>()
        .answers::<SubmitAnswer>();
        all.on(Method::GET, "/api/v1/batches", "Batches, the last touched first")
            .asks::<BatchQuery>()
            .answers::<BatchList>();
        all.on(Method::GET, "/api/v1/batches/{name}/members", "Members of a batch by position")
            .asks::<MemberQuery>()
            .answers::<MemberList>();
        all.on(Method::POST, "/api/v1/blocks", "Sends blocks; answered when all are durable")
            .asks::<PackPart>()
            .takes_pack()
            .answers::<PackAnswer>();
        all.on(Method::GET, "/api/v1/packs/{pack}", "How much has come of a pack whose connection broke")
            .answers::<PackHeld>();
        all.on(Method::POST, "/api/v1/blocks/fetch", "Fetches blocks, in the order asked for")
            .takes::<FetchRequest>()
            .answers_pack("A pack of the blocks");
        all.on(Method::POST, "/api/v1/results", "Fetches results")
            .takes::<ResultsRequest>()
            .knows::<ResultAnswer>()
            .answers_pack(
                "A pack: for each task a message with a `ResultAnswer`, and its blocks if they are few",
            );
        all.on(Method::POST, RESULTS_PART, "Fetches a part of an array of a result")
            .takes::<PartRequest>()
            .knows::<PartEnd>()
            .answers_pack(
                "A pack: the part's bytes in C order in block frames, then a message with a `PartEnd`",
            );
        all.on(Method::GET, "/api/v1/keys", "All keys; for the administrator").answers::<KeyList>();
        all.on(Method::POST, "/api/v1/keys", "Makes a key; for the administrator")
            .takes::<NewKey>()
            .answers::<CreatedKey>();
        all.on(
            Method::DELETE,
            "/api/v1/keys/{key}",
            "Revokes a key, whose tasks stay; for the administrator",
        )
        .answers_nothing();
        all.on(Method::PUT, "/api/v1/keys/{key}/quota", "Sets what a key may use; for the administrator")
            .takes::<Quota>()
            .answers::<KeySummary>();
        all.on(Method::GET, PATH, "This document; no key is needed").open().answers_any("OpenAPI 3.1");
        all
    }

    fn on(&mut self, method: Method, path: &'static str, summary: &str) -> On<'_> {
        let name = path.trim_start_matches("/api/v1/").replace(['/', '.'], "_").replace(['{', '}'], "");
        let operation = OperationBuilder::new()
            .operation_id(Some(format!("{}_{name}", method.as_str().to_lowercase())))
            .summary(Some(summary))
            .parameters(Some(in_path(path)));
        On { description: self, method, path, operation, open: false }
    }

    fn document(mut self) -> OpenApi {
        let error = self.schema::<ApiError>();
        let failure = ResponseBuilder::new()
            .description("It was not done; the code says why")
            .content("application/json", Content::new(Some(error)))
            .build();
        let mut paths = PathsBuilder::new().build();
        for (method, path, operation) in self.operations {
            let operation: Operation = operation.response("default", failure.clone()).build();
            paths.add_path_operation(path, vec![http_method(&method)], operation);
        }
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The secret of a key: `wavetask env` shows it"))
            .build();
        let components = ComponentsBuilder::new()
            .schemas_from_iter(self.schemas)
            .security_scheme(KEY, SecurityScheme::Http(key))
            .build();
        let info = InfoBuilder::new()
            .title("wavetask, native API")
            .version(env!("CARGO_PKG_VERSION"))
            .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").build()))
            .build();
        OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
    }

    /// Notes a type's schema and those that it is made of.
    fn schema<T: ToSchema>(&mut self) -> Ref {
        let name = T::name().into_owned();
        if !self.schemas.contains_key(&name) {
            self.schemas.insert(name.clone(), T::schema());
            let mut parts = Vec::new();
            T::schemas(&mut parts);
            self.schemas.extend(parts);
        }
        Ref::from_schema_name(name)
    }
}

/// One operation as it is described; written down by what it answers.
struct On<'d> {
    description: &'d mut Description,
    method: Method,
    path: &'static str,
    operation: OperationBuilder,
    open: bool,
}

impl On<'_> {
    fn asks<T: IntoParams>(mut self) -> Self {
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            self.operation = self.operation.parameter(parameter);
        }
        self
    }

    fn header(mut self, name: &str, description: &str) -> Self {
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(text()));
        self.operation = self.operation.parameter(parameter);
        self
    }

    fn takes<T: ToSchema>(mut self) -> Self {
        let content = Content::new(Some(self.description.schema::<T>()));
        let body =
            RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    fn takes_pack(mut self) -> Self {
        let content = Content::new(None::<RefOr<Schema>>);
        let body = RequestBodyBuilder::new().content(PACK_TYPE, content).required(Some(Required::True));
        self.operation = self.operation.request_body(Some(body.build()));
        self
    }

    /// Makes a type known that only appears within a pack.
    fn knows<T: ToSchema>(self) -> Self {
        self.description.schema::<T>();
        self
    }

    /// No key is needed.
    fn open(mut self) -> Self {
        self.open = true;
        self
    }

    fn answers<T: ToSchema>(self) {
        self.answers_as::<T>("application/json", "Done");
    }

    fn answers_as<T: ToSchema>(self, content_type: &str, description: &str) {
        let schema = self.description.schema::<T>();
        self.end(content_type, description, Content::new(Some(schema)));
    }

    fn answers_nothing(self) {
        self.end(
            "application/json",
            "Done",
            Content::new(Some(ObjectBuilder::new().max_properties(Some(0)))),
        );
    }

    fn answers_any(self, description: &str) {
        self.end("application/json", description, Content::new(Some(ObjectBuilder::new())));
    }

    fn answers_pack(self, description: &str) {
        self.end(PACK_TYPE, description, Content::new(None::<RefOr<Schema>>));
    }

    fn end(self, content_type: &str, description: &str, content: Content) {
        let response = ResponseBuilder::new().description(description).content(content_type, content);
        let mut operation = self.operation.response("200", response.build());
        if !self.open {
            operation = operation.security(SecurityRequirement::new(KEY, Vec::<String>::new()));
        }
        self.description.operations.push((self.method, self.path, operation));
    }
}

/// The parameters in a path.
fn in_path(path: &str) -> Vec<Parameter> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(text()))
            .build()
    };
    names.map(parameter).collect()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn http_method(method: &Method) -> HttpMethod {
    match *method {
        Method::POST => HttpMethod::Post,
        Method::PUT => HttpMethod::Put,
        Method::DELETE => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn described() -> BTreeSet<String> {
        let document = serde_json::to_value(Description::all().document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| format!("{} {path}", method.to_uppercase()))
        });
        operations.collect()
    }

    #[test]
    fn what_is_described_is_what_is_there() {
        let routes = crate::native::all().listed;
        let there: BTreeSet<String> =
            routes.iter().map(|(method, path)| format!("{method} {path}")).collect();
        assert_eq!(described(), there);
    }

    /// The table that people read says the same.
    #[test]
    fn the_protocol_s_table_is_complete() {
        let text = include_str!("../../../wavetask-protocol/src/native/mod.rs");
        let mut table = BTreeSet::new();
        for row in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
            let cell = row.split(" | ").next().unwrap();
            let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            let Some((method, first)) = names.first().and_then(|name| name.split_once(' ')) else { continue };
            table.insert(format!("{method} {first}"));
            for name in &names[1..] {
                // `…/start` stands for the same place with another last word.
                let place = first.rsplit_once('/').unwrap().0;
                table.insert(format!("{method} {place}/{}", name.trim_start_matches("…/")));
            }
        }
        assert_eq!(described(), table);
    }

    #[test]
    fn every_reference_leads_somewhere_and_nobody_is_named() {
        let text = serde_json::to_string(&Description::all().document()).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["info"].get("contact").is_none() && !text.contains('@'), "no author in it");
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.contains_key("ApiError") && schemas.contains_key("ResultAnswer"));
    }
}
