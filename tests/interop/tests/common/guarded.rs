//! Workers that admit only `role=member`, in nodes of ours and of theirs: by our policies, and by their access control. What
//! either decides is told, so that nothing has to be waited for that does not come.

use std::sync::{Arc, Mutex};

use channel::{Address, Peer};
use identity::Timestamp;
use node::workers::Echo;
use node::{Admission, Gate, Node, Opened, Origin, Pending, Policies, Route, Runs};
use ockam_abac::IncomingAbac;
use ockam_core::flow_control::FlowControlId;
use ockam_core::{IncomingAccessControl, NeutralMessage, RelayMessage, async_trait, route};
use ockam_identity::SecureChannels;
use ockam_identity::models::Identifier;
use ockam_node::{Context, WorkerBuilder};
use policy_lang::Policy;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::nodes::{TheirEcho, WAIT, local};

/// Where the worker is, on either side.
pub(crate) const GUARDED: &str = "guarded";
const QUESTION: &[u8] = b"may I";

/// What the guard of a worker decides, in order.
pub(crate) struct Verdicts(UnboundedReceiver<bool>);

impl Verdicts {
    /// Whether the worker is reached. Who is, gets its answer.
    pub(crate) async fn of(&mut self, asking: impl Future<Output = Vec<u8>> + Send + 'static) -> bool {
        let asking = tokio::spawn(asking);
        let admitted = tokio::time::timeout(WAIT, self.0.recv()).await.unwrap().unwrap();
        match admitted {
            true => assert_eq!(asking.await.unwrap(), QUESTION),
            false => asking.abort(),
        }
        admitted
    }
}

struct Told {
    gate: Arc<dyn Gate>,
    to: UnboundedSender<bool>,
}

impl Gate for Told {
    fn admits(&self, to: &Address, origin: &Origin, now: Timestamp) -> bool {
        let admitted = self.gate.admits(to, origin, now);
        self.to.send(admitted).unwrap();
        admitted
    }
}

/// Puts the worker into a node of ours.
pub(crate) fn guard_ours(node: &Node) -> Verdicts {
    let (to, told) = unbounded_channel();
    let policies = Policies::with_default(Policy::parse("role=member").unwrap());
    let gate = Arc::new(Told { gate: policies.gate(GUARDED, "service"), to });
    let admission = Admission::local().channels().gate(gate);
    node.start_worker(local(GUARDED), Echo, admission, Runs::Inline).unwrap();
    Verdicts(told)
}

#[derive(Debug)]
struct TheirTold {
    control: IncomingAbac,
    to: UnboundedSender<bool>,
}

#[async_trait]
impl IncomingAccessControl for TheirTold {
    async fn is_authorized(&self, message: &RelayMessage) -> ockam_core::Result<bool> {
        let admitted = self.control.is_authorized(message).await;
        self.to.send(matches!(admitted, Ok(true))).unwrap();
        admitted
    }
}

/// Puts the worker into a node of theirs, for whoever comes through these channels.
pub(crate) fn guard_theirs(
    context: &Context,
    crates: &SecureChannels,
    authority: &Identifier,
    channels: &FlowControlId,
) -> Verdicts {
    let (to, told) = unbounded_channel();
    let known = crates.identities().identities_attributes();
    let control = IncomingAbac::create_name_value(known, Some(authority.clone()), "role", "member");
    WorkerBuilder::new(TheirEcho)
        .with_address(GUARDED)
        .with_incoming_access_control(TheirTold { control, to })
        .start(context)
        .unwrap();
    context.flow_controls().add_consumer(&GUARDED.into(), channels);
    Verdicts(told)
}

/// They ask the worker at the other end of a channel.
pub(crate) fn they_ask(
    context: &Arc<Context>,
    channel: &ockam_core::Address,
) -> impl Future<Output = Vec<u8>> + Send + use<> {
    let (context, to) = (Arc::clone(context), route![channel.clone(), GUARDED]);
    async move {
        let answer: NeutralMessage =
            context.send_and_receive(to, NeutralMessage::from(QUESTION.to_vec())).await.unwrap();
        answer.into_vec()
    }
}

/// We ask the worker at the other end of a channel.
pub(crate) fn we_ask(node: &Node, channel: &Address) -> impl Future<Output = Vec<u8>> + Send + use<> {
    let (node, to) = (node.clone(), [channel.clone(), local(GUARDED)].into_iter().collect::<Route>());
    async move { node.ask(to, QUESTION.to_vec(), WAIT).await.unwrap().payload }
}

/// Peers of a node of ours, as they showed themselves: at the start, and anew.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Vec<Peer>>);

impl Seen {
    /// As it showed itself last.
    pub(crate) fn last(&self, who: &Identifier) -> Peer {
        let who = super::ours_of(who);
        self.0.lock().unwrap().iter().rev().find(|peer| peer.identifier() == who).cloned().unwrap()
    }

    /// The role in each of its credentials that count.
    pub(crate) fn roles(&self, who: &Identifier) -> Vec<String> {
        let peer = self.last(who);
        peer.credentials(super::now())
            .map(|one| one.attributes().get("role").unwrap_or_default().to_owned())
            .collect()
    }
}

impl Opened for Seen {
    fn opened<'a>(&'a self, peer: &'a Peer) -> Pending<'a, ()> {
        self.0.lock().unwrap().push(peer.clone());
        Box::pin(async { Ok(()) })
    }
}
