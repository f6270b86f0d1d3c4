//! A connection to a cluster, through the `kube` crate: the only file that knows it.
//!
//! Narrow verbs over JSON objects. None of them decides, and each has a deadline.

use std::future::{Future, ready};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::io::AsyncBufRead;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams,
    Preconditions, PropagationPolicy, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use crate::kubernetes::{Complaint, Deleted, MANAGER, Rights, kind_of, name_of};

/// A call that takes longer is given up.
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// A watch that is older is opened anew; servers end it at about the same age.
const WATCH_SECONDS: u32 = 290;

/// The kinds of objects that are read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    CronJob,
    Secret,
    ConfigMap,
    /// A PersistentVolumeClaim.
    Claim,
    Job,
    Pod,
    Event,
}

impl Kind {
    /// By the name that objects carry.
    #[must_use]
    pub fn of(name: &str) -> Option<Kind> {
        [
            Kind::CronJob,
            Kind::Secret,
            Kind::ConfigMap,
            Kind::Claim,
            Kind::Job,
            Kind::Pod,
            Kind::Event,
        ]
        .into_iter()
        .find(|kind| kind.names().2 == name)
    }

    /// Group, version, kind, plural.
    fn names(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Kind::CronJob => ("batch", "v1", "CronJob", "cronjobs"),
            Kind::Job => ("batch", "v1", "Job", "jobs"),
            Kind::Secret => ("", "v1", "Secret", "secrets"),
            Kind::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Kind::Claim => ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
            Kind::Pod => ("", "v1", "Pod", "pods"),
            Kind::Event => ("", "v1", "Event", "events"),
        }
    }

    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = self.names();
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// Which cluster, and where in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// A context of the kubeconfig; `None`: its current one, else the pod's own credentials.
    pub context: Option<String>,
    /// `None`: the context's, else `default`; in a pod its own.
    pub namespace: Option<String>,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// The kubeconfig, or what it names, cannot be used.
    #[error("{0}")]
    Config(String),
    #[error("{why}")]
    Unreachable { host: String, why: String },
    /// The server's own words.
    #[error("{message}")]
    Refused {
        code: u16,
        reason: String,
        message: String,
        causes: Vec<Cause>,
    },
    #[error("the server's answer cannot be read: {0}")]
    Undecodable(String),
}

/// One cause of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub field: String,
    pub message: String,
}

impl ClusterError {
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            ClusterError::Refused { code, .. } => Some(*code),
            ClusterError::Config(_) | ClusterError::Unreachable { .. } | ClusterError::Undecodable(_) => None,
        }
    }

    /// What the object lacks, when that is why it was refused.
    #[must_use]
    pub fn complaints(&self) -> Option<Vec<Complaint>> {
        let ClusterError::Refused {
            code: 400 | 422,
            message,
            causes,
            ..
        } = self
        else {
            return None;
        };
        if causes.is_empty() {
            return Some(vec![Complaint {
                field: String::new(),
                message: message.clone(),
            }]);
        }
        Some(
            causes
                .iter()
                .map(|cause| Complaint {
                    field: cause.field.clone(),
                    message: cause.message.clone(),
                })
                .collect(),
        )
    }

    /// Fields that others own, with their managers, when that is why an apply was refused.
    #[must_use]
    pub fn conflicts(&self) -> Option<Vec<(String, String)>> {
        let ClusterError::Refused {
            code: 409, causes, ..
        } = self
        else {
            return None;
        };
        let found: Vec<(String, String)> = causes
            .iter()
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| (cause.field.clone(), manager_of(&cause.message)))
            .collect();
        (!found.is_empty()).then_some(found)
    }
}

/// The name in `conflict with "kubectl-edit" using batch/v1 at …`.
fn manager_of(message: &str) -> String {
    let name = message.split('"').nth(1).unwrap_or_default();
    if name.is_empty() { message } else { name }.to_owned()
}

/// How an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Apply {
    pub manager: &'static str,
    pub dry_run: bool,
    pub force: bool,
}

/// What of a log is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    pub timestamps: bool,
    pub since: Option<Timestamp>,
    pub tail: Option<u64>,
}

type Result<T> = std::result::Result<T, ClusterError>;

/// A connection, and a namespace.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    namespace: String,
    host: String,
    source: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("host", &self.host)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Prepares a connection as kubectl does: `KUBECONFIG`, `~/.kube/config`, else the credentials of the
    /// pod that this runs in. Nothing is asked yet.
    ///
    /// # Errors
    /// When there is no such configuration or context, or it cannot be used.
    pub async fn connect(selection: &Selection) -> Result<Cluster> {
        let (mut config, source) = configuration(selection).await?;
        config.connect_timeout = Some(CONNECT);
        let host = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let namespace = selection
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = kube::Client::try_from(config).map_err(|error| ClusterError::Config(words(&error)))?;
        Ok(Cluster {
            client,
            namespace,
            host,
            source,
        })
    }

    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What named it: `the context prod`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The server's version: `v1.36.4`.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses to say.
    pub async fn version(&self) -> Result<String> {
        let info = self.within(self.client.apiserver_version()).await?;
        Ok(info.git_version)
    }

    /// What time it is there, to the second; `None` when the answer does not say.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn time(&self) -> Result<Option<Timestamp>> {
        let request = kube::core::Request::new("/version")
            .list(&ListParams::default())
            .map_err(|error| ClusterError::Config(error.to_string()))?;
        let request = request.map(kube::client::Body::from);
        let answer = self.within(self.client.send(request)).await?;
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
        Ok(date.map(|date| date.timestamp()))
    }

    /// The versions of an API group that it serves.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub async fn served(&self, group: &str) -> Result<Vec<String>> {
        let groups = self.within(self.client.list_api_groups()).await?.groups;
        let versions = groups.into_iter().filter(|found| found.name == group);
        let versions = versions.flat_map(|group| group.versions);
        Ok(versions.map(|version| version.version).collect())
    }

    /// Whether this account may do that in the namespace.
    ///
    /// # Errors
    /// When it cannot be reached, or does not say.
    pub async fn may(&self, rights: &Rights, verb: &str) -> Result<bool> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: text(rights.group),
                    resource: text(rights.resource),
                    subresource: text(rights.part),
                    namespace: Some(self.namespace.clone()),
                    verb: Some(verb.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let params = PostParams::default();
        let answer = self.within(api.create(&params, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Whether the namespace is there. Who may not look at namespaces learns it from a dry run.
    ///
    /// # Errors
    /// When it cannot be reached, or does not say.
    pub async fn has_namespace(&self) -> Result<bool> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match self.within(api.get_opt(&self.namespace)).await {
            Ok(found) => return Ok(found.is_some()),
            Err(error) if error.code() == Some(403) => {}
            Err(error) => return Err(error),
        }
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "a"}]});
        let nothing = json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "docker-scheduler-doctor-asks"},
            "spec": {"schedule": "@yearly", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
        });
        let how = Apply {
            manager: MANAGER,
            dry_run: true,
            force: false,
        };
        match self.apply(&nothing, how).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some(404) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// Objects with these labels, in the order of names.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn list(&self, kind: Kind, labels: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut params = ListParams {
            label_selector: (!labels.is_empty()).then(|| labels.to_owned()),
            limit: Some(500),
            ..ListParams::default()
        };
        loop {
            let api = self.api(kind);
            let page = self.within(api.list(&params)).await?;
            for object in page.items {
                found.push(value(kind, object)?);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
        found.sort_by(|a, b| name_of(a).cmp(name_of(b)));
        Ok(found)
    }

    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>> {
        let api = self.api(kind);
        let found = self.within(api.get_opt(name)).await?;
        found.map(|object| value(kind, object)).transpose()
    }

    /// Server-side apply; gives the object as it is then, or would be.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses: [`ClusterError::conflicts`],
    /// [`ClusterError::complaints`].
    pub async fn apply(&self, object: &Value, how: Apply) -> Result<Value> {
        let kind = kind(object)?;
        let params = PatchParams {
            dry_run: how.dry_run,
            force: how.force,
            field_manager: Some(how.manager.to_owned()),
            field_validation: Some(kube::api::ValidationDirective::Strict),
        };
        let api = self.api(kind);
        let patch = Patch::Apply(object);
        let applied = self.within(api.patch(name_of(object), &params, &patch)).await?;
        value(kind, applied)
    }

    /// Merges a patch into an object.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn merge(&self, kind: Kind, name: &str, patch: &Value, manager: &str) -> Result<Value> {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(kind);
        let merged = self
            .within(api.patch(name, &params, &Patch::Merge(patch)))
            .await?;
        value(kind, merged)
    }

    /// Makes an object that must not be there yet.
    ///
    /// # Errors
    /// When it is (409), or the server cannot be reached or refuses.
    pub async fn create(&self, object: &Value, manager: &str) -> Result<Value> {
        let kind = kind(object)?;
        let params = PostParams {
            field_manager: Some(manager.to_owned()),
            ..PostParams::default()
        };
        let object: DynamicObject = serde_json::from_value(object.clone())
            .map_err(|error| ClusterError::Undecodable(error.to_string()))?;
        let api = self.api(kind);
        value(kind, self.within(api.create(&params, &object)).await?)
    }

    /// Deletes an object that is still as it was seen. One that is gone already is as good.
    ///
    /// # Errors
    /// When it was touched since (409), or the server cannot be reached or refuses.
    pub async fn delete(&self, deleted: &Deleted) -> Result<()> {
        let kind = Kind::of(&deleted.kind)
            .ok_or_else(|| ClusterError::Undecodable(format!("no kind `{}`", deleted.kind)))?;
        let params = DeleteParams {
            propagation_policy: Some(if deleted.orphan {
                PropagationPolicy::Orphan
            } else {
                PropagationPolicy::Background
            }),
            preconditions: Some(Preconditions {
                uid: Some(deleted.uid.clone()),
                resource_version: Some(deleted.version.clone()),
            }),
            ..DeleteParams::default()
        };
        let api = self.api(kind);
        match self.within(api.delete(&deleted.name, &params)).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a pod's one container wrote.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses: also while the container has not started.
    pub async fn logs(&self, pod: &str, options: &LogOptions) -> Result<impl AsyncBufRead + use<>> {
        let params = LogParams {
            follow: options.follow,
            timestamps: options.timestamps,
            since_time: options.since,
            tail_lines: options.tail.map(|lines| i64::try_from(lines).unwrap_or(i64::MAX)),
            ..LogParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        self.within(async move { api.log_stream(pod, &params).await })
            .await
    }

    /// Changes of objects with these labels, beginning with those that are there: the object, and
    /// whether it is still there. Ends after some minutes; what happened between two streams is seen by
    /// listing.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub async fn changes(
        &self,
        kind: Kind,
        labels: &str,
    ) -> Result<BoxStream<'static, Result<(Value, bool)>>> {
        let params = WatchParams::default().labels(labels).timeout(WATCH_SECONDS);
        let api = self.api(kind);
        let host = self.host.clone();
        let stream = self.within(async move { api.watch(&params, "0").await }).await?;
        let seen = stream.filter_map(move |event| {
            ready(match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    Some(value(kind, object).map(|object| (object, true)))
                }
                Ok(WatchEvent::Deleted(object)) => Some(value(kind, object).map(|object| (object, false))),
                Ok(WatchEvent::Bookmark(_)) => None,
                Ok(WatchEvent::Error(status)) => Some(Err(refused(&status))),
                Err(error) => Some(Err(of_kube(&host, error))),
            })
        });
        Ok(seen.boxed())
    }

    async fn within<T>(&self, call: impl Future<Output = std::result::Result<T, kube::Error>>) -> Result<T> {
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(done) => done.map_err(|error| of_kube(&self.host, error)),
            Err(_) => Err(ClusterError::Unreachable {
                host: self.host.clone(),
                why: format!("no answer within {} s", DEADLINE.as_secs()),
            }),
        }
    }
}

/// With what named it, in words.
async fn configuration(selection: &Selection) -> Result<(kube::Config, String)> {
    let options = KubeConfigOptions {
        context: selection.context.clone(),
        ..KubeConfigOptions::default()
    };
    let failed = |error: &KubeconfigError| ClusterError::Config(words(error));
    let kubeconfig = match Kubeconfig::read() {
        Ok(found) => found,
        // kubectl's order: without a kubeconfig the pod's own credentials.
        Err(error) if selection.context.is_none() && is_missing(&error) => {
            let config = kube::Config::incluster().map_err(|_| {
                ClusterError::Config(String::from(
                    "there is no kubeconfig, and this is no pod with a service account",
                ))
            })?;
            return Ok((config, String::from("the account of this pod")));
        }
        Err(error) => return Err(failed(&error)),
    };
    let context = selection.context.clone().or(kubeconfig.current_context.clone());
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let config = config.map_err(|error| failed(&error))?;
    let source = format!("the context {}", context.unwrap_or_default());
    Ok((config, source))
}

fn is_missing(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn kind(object: &Value) -> Result<Kind> {
    let name = kind_of(object);
    Kind::of(name).ok_or_else(|| ClusterError::Undecodable(format!("no kind `{name}`")))
}

/// As JSON, with the kind that items of a list lack.
fn value(kind: Kind, object: DynamicObject) -> Result<Value> {
    let mut value =
        serde_json::to_value(object).map_err(|error| ClusterError::Undecodable(error.to_string()))?;
    let (group, version, name, _) = kind.names();
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    value["kind"] = json!(name);
    value["apiVersion"] = json!(api_version);
    Ok(value)
}

fn refused(status: &kube::core::Status) -> ClusterError {
    let causes = status.details.as_ref().map(|details| {
        details
            .causes
            .iter()
            .map(|cause| Cause {
                reason: cause.reason.clone(),
                field: cause.field.clone(),
                message: cause.message.clone(),
            })
            .collect()
    });
    let pause = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    let message = match pause {
        0 => status.message.clone(),
        seconds => format!("{}; it asks to come again in {seconds} s", status.message),
    };
    ClusterError::Refused {
        code: status.code,
        reason: status.reason.clone(),
        message,
        causes: causes.unwrap_or_default(),
    }
}

fn of_kube(host: &str, error: kube::Error) -> ClusterError {
    match error {
        kube::Error::Api(status) => refused(&status),
        kube::Error::SerdeError(error) => ClusterError::Undecodable(error.to_string()),
        kube::Error::FromUtf8(error) => ClusterError::Undecodable(error.to_string()),
        error @ (kube::Error::Auth(_) | kube::Error::BuildRequest(_) | kube::Error::HttpError(_)) => {
            ClusterError::Config(words(&error))
        }
        other => ClusterError::Unreachable {
            host: host.to_owned(),
            why: words(&other),
        },
    }
}

/// An error with its causes, each once.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_when_to_come_again() {
        let status: kube::core::Status = serde_json::from_value(json!({
            "status": "Failure", "code": 429, "reason": "TooManyRequests",
            "message": "too many requests", "details": {"retryAfterSeconds": 7},
        }))
        .unwrap();
        let told = refused(&status).to_string();
        assert_eq!(told, "too many requests; it asks to come again in 7 s");
    }

    #[test]
    fn a_conflict_names_field_and_manager() {
        let error = ClusterError::Refused {
            code: 409,
            reason: "Conflict".into(),
            message: "Apply failed with 1 conflict".into(),
            causes: vec![Cause {
                reason: "FieldManagerConflict".into(),
                field: ".spec.schedule".into(),
                message: "conflict with \"kubectl-edit\" using batch/v1".into(),
            }],
        };
        assert_eq!(
            error.conflicts(),
            Some(vec![(".spec.schedule".into(), "kubectl-edit".into())])
        );
        assert_eq!(error.complaints(), None);
    }

    #[test]
    fn what_is_invalid_is_told_by_field() {
        let error = ClusterError::Refused {
            code: 422,
            reason: "Invalid".into(),
            message: "all".into(),
            causes: vec![Cause {
                reason: "FieldValueInvalid".into(),
                field: "spec.schedule".into(),
                message: "bad".into(),
            }],
        };
        assert_eq!(error.complaints().unwrap()[0].field, "spec.schedule");
        assert_eq!(error.conflicts(), None);
    }
}
