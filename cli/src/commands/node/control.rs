//! What the control socket of a running node answers.

use std::sync::Arc;
use std::sync::mpsc;

use home::control::{Answer, Ask, NodeAsk};
use home::{Home, Name};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::service::Service;
use crate::error::{Error, Result};
use crate::exit::Kind;

/// A node that runs.
pub(super) struct Running {
    home: Home,
    name: Name,
    service: Arc<Service>,
    stop: watch::Sender<bool>,
    runtime: Handle,
}

impl Running {
    /// To be called where the runtime runs.
    pub(super) fn new(home: Home, name: Name, service: Arc<Service>, stop: watch::Sender<bool>) -> Self {
        Self { home, name, service, stop, runtime: Handle::current() }
    }

    /// Answers whoever asks on the control socket: a process of the same user. Called on threads of the socket's own.
    pub(super) fn answer(&self, ask: Ask) -> Answer {
        let answered = match ask {
            Ask::Status => Ok(self.status()),
            Ask::Stop => {
                let _ = self.stop.send(true);
                Ok(json!({}))
            }
            Ask::Node(ask) => self.node(ask),
            Ask::Reload
            | Ask::Rotate(_)
            | Ask::Audit { .. }
            | Ask::Orphans { .. }
            | Ask::Conflicts { .. }
            | Ask::Conflict { .. }
            | Ask::Decide { .. } => Err(Error::new(
                Kind::Unsupported,
                format!("the server `{}` is a node, and no authority", self.name),
            )
            .with_hint("`ockam-kms authority list` shows the authorities")),
        };
        match answered {
            Ok(value) => Answer::Done(value),
            Err(error) => Answer::Failed {
                kind: error.kind().name().to_owned(),
                message: error.to_string(),
                hint: Some(error.hint().to_owned()),
            },
        }
    }

    fn status(&self) -> Value {
        json!({
            "name": self.name.as_str(),
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "ready": true,
            "node": self.service.summary(),
        })
    }

    /// Runs among the node's tasks, so that it ends with them when the node does.
    fn node(&self, ask: NodeAsk) -> Result<Value> {
        let (told, answer) = mpsc::sync_channel(1);
        let service = Arc::clone(&self.service);
        let kept = matches!(
            ask,
            NodeAsk::SetPolicy { .. } | NodeAsk::RemovePolicy { .. } | NodeAsk::DeleteRelay { .. }
        );
        self.runtime.spawn(async move {
            let _ = told.send(service.answer(ask).await);
        });
        let ended = |_| {
            Error::new(Kind::Unavailable, "the node ended before it was done")
                .with_hint("`ockam-kms node start` starts it again")
        };
        let value = answer.recv().map_err(ended)??;
        if kept {
            self.keep()?;
        }
        Ok(value)
    }

    /// Policies outlive the process, and a relay that was given up stays so.
    fn keep(&self) -> Result<()> {
        let writer = self.home.write()?;
        let (mut record, _) = self.home.server(&self.name)?;
        if let Some(node) = &mut record.node {
            node.policies = self.service.policies_kept();
            node.relays.retain(|name, _| self.service.has_relay(name));
        }
        Ok(self.home.put_server(&writer, &self.name, &record)?)
    }
}
