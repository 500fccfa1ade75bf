//! Nodes of theirs, identities of theirs, and the two authorities that are compared.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;

use ockam_api::authenticator::{PreTrustedIdentities, PreTrustedIdentity};
use ockam_api::authority_node::{self, Authority, Configuration};
use ockam_api::config::lookup::InternetAddress;
use ockam_api::nodes::NodeManager;
use ockam_api::orchestrator::AuthorityNodeClient;
use ockam_identity::models::{CredentialAndPurposeKey, Identifier, TimestampInSeconds};
use ockam_identity::{SecureChannels, identities, secure_channels};
use ockam_multiaddr::MultiAddr;
use ockam_node::database::SqlxDatabase;
use ockam_node::{Context, NodeBuilder};
use ockam_transport_tcp::TcpTransport;
use serde_json::json;

use crate::program::Program;

/// The project that either authority is for.
pub(crate) const PROJECT: &str = "demo";

/// Runs a test inside a node of theirs, and ends the node.
pub(crate) fn in_node<F: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(Arc<Context>) -> F + Send + 'static,
) {
    // Or a test that fails ends the process, and a server of ours outlives it.
    let (context, mut executor) = NodeBuilder::new().no_logging().no_exit_on_panic().build();
    let outcome = executor.execute(async move {
        let context = Arc::new(context);
        let test = tokio::spawn(test(Arc::clone(&context)));
        let outcome = test.await.map_err(|failed| failed.to_string());
        context.shutdown_node().await.unwrap();
        outcome
    });
    outcome.unwrap().unwrap();
}

/// Where an authority is, and its history as hex.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) route: String,
    pub(crate) history: String,
    pub(crate) identifier: Identifier,
}

impl Place {
    async fn new(route: String, history: String) -> Self {
        let identity = ockam_identity::Identity::create(&history).await.unwrap();
        Self { route, identifier: identity.identifier().clone(), history }
    }
}

/// Our authority, with enrollers from the start.
pub(crate) async fn ours(program: &Program, enrollers: &[Identifier]) -> Place {
    let trusted = enrollers.iter().map(|id| (id.to_string(), json!({ "ockam-role": "enroller" })));
    let trusted = serde_json::Value::Object(trusted.collect()).to_string();
    let create = ["authority", "create", "--project-identifier", PROJECT, "--output", "json"];
    let door = ["--tcp-listener-address", "127.0.0.1:0", "--trusted-identities", &trusted];
    let created = program.run("authority", &[&create[..], &door].concat(), "").code(0).json();
    let show = ["identity", "show", "authority-demo", "--full", "--encoding", "hex"];
    let history = program.run("authority", &show, "").code(0).stdout;
    Place::new(created["authority_route"].as_str().unwrap().to_owned(), history).await
}

/// Their authority in a node of its own, with enrollers from the start.
pub(crate) async fn theirs(context: &Context, enrollers: &[Identifier]) -> Place {
    let database = SqlxDatabase::in_memory("authority").await.unwrap();
    let identifier = identities::create(database.clone(), "authority")
        .identities_creation()
        .create_identity()
        .await
        .unwrap();
    let attributes = BTreeMap::from([(b"ockam-role".to_vec(), b"enroller".to_vec())]);
    let trusted = |id: &Identifier| {
        let entry =
            PreTrustedIdentity::new(attributes.clone(), TimestampInSeconds(0), None, identifier.clone());
        (id.clone(), entry)
    };
    let configuration = Configuration {
        identifier: identifier.clone(),
        database_configuration: database.configuration.clone(),
        project_identifier: PROJECT.to_owned(),
        tcp_listener_address: InternetAddress::new("127.0.0.1:0").unwrap(),
        secure_channel_listener_name: None,
        authenticator_name: None,
        trusted_identities: PreTrustedIdentities::new(enrollers.iter().map(trusted).collect()),
        no_direct_authentication: false,
        no_token_enrollment: false,
        okta: None,
        account_authority: None,
        enforce_admin_checks: false,
        disable_trust_context_id: false,
        telemetry_endpoint_url: None,
    };
    let authority = Authority::create(&configuration, Some(database)).await.unwrap();
    authority_node::start_node(context, &configuration, authority.clone()).await.unwrap();
    let tcp = TcpTransport::get_or_create(context).unwrap();
    // A listener is in the registry once its processor runs.
    let port = loop {
        match tcp.registry().get_all_listeners().first() {
            Some(listener) => break listener.socket_address().port(),
            None => tokio::task::yield_now().await,
        }
    };
    let identity = authority.secure_channels().identities().get_identity(&identifier).await.unwrap();
    let history = identity.export_as_string().unwrap();
    Place::new(format!("/dnsaddr/localhost/tcp/{port}/service/api"), history).await
}

/// Those of theirs who ask: one set of keys and histories for all of them.
pub(crate) struct Askers {
    pub(crate) context: Arc<Context>,
    pub(crate) crates: Arc<SecureChannels>,
    tcp: Arc<TcpTransport>,
}

impl Askers {
    pub(crate) async fn new(context: &Arc<Context>) -> Self {
        let tcp = TcpTransport::get_or_create(context).unwrap();
        Self { context: context.clone(), crates: secure_channels().await.unwrap(), tcp }
    }

    pub(crate) async fn identity(&self) -> Identifier {
        self.crates.identities().identities_creation().create_identity().await.unwrap()
    }

    /// Their client, for one of them.
    pub(crate) async fn client(&self, place: &Place, who: &Identifier) -> AuthorityNodeClient {
        let route = MultiAddr::from_str(&place.route).unwrap();
        let crates = self.crates.clone();
        NodeManager::authority_node_client(self.tcp.clone(), crates, &place.identifier, &route, who, None)
            .await
            .unwrap()
    }

    /// What a credential says, by their verification.
    pub(crate) async fn verified(
        &self,
        place: &Place,
        subject: &Identifier,
        credential: &CredentialAndPurposeKey,
    ) -> ockam_core::Result<BTreeMap<String, String>> {
        let credentials = self.crates.identities().credentials();
        let authorities = [place.identifier.clone()];
        let verification = credentials.credentials_verification();
        let verified = verification.verify_credential(Some(subject), &authorities, credential).await?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let map = verified.credential_data.subject_attributes.map;
        Ok(map.iter().map(|(name, value)| (text(name), text(value))).collect())
    }
}
