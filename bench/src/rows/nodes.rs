//! Nodes in one process that reach each other over TCP on the loopback: ours, and those of the published crates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use node::workers::Echo;
use node::{Address, Admission, Forwarding, Message, Node, NodeOptions, Pending, Route, Runs, Worker};
use ockam_core::{Any, NeutralMessage, Routed, async_trait, route};
use ockam_identity::{SecureChannelListenerOptions, SecureChannelOptions, secure_channels};
use ockam_node::{Context, NodeBuilder};
use ockam_transport_tcp::{TcpConnectionOptions, TcpListenerOptions, TcpTransport};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use vault::Algorithm;

use super::party::Somebody;
use crate::Result;

/// Longer than any answer takes.
const WAIT: Duration = Duration::from_secs(30);

/// Counts what it is sent.
#[derive(Clone, Default)]
struct Sink(Arc<Counted>);

#[derive(Default)]
struct Counted {
    messages: AtomicU64,
    more: Notify,
}

impl Counted {
    fn one_more(&self) {
        self.messages.fetch_add(1, Ordering::Release);
        self.more.notify_one();
    }

    /// Waits for so many messages, and forgets them.
    async fn wait_for(&self, count: u64) {
        while self.messages.load(Ordering::Acquire) < count {
            self.more.notified().await;
        }
        self.messages.fetch_sub(count, Ordering::AcqRel);
    }
}

impl Worker for Sink {
    fn receive<'a>(&'a self, _: &'a Node, _: Message) -> Pending<'a, ()> {
        self.0.one_more();
        Box::pin(async { Ok(()) })
    }
}

/// Dials for everybody: all nodes here are ours.
struct Everything;

impl Forwarding for Everything {
    fn may_dial(&self, _: &str) -> bool {
        true
    }
}

fn runtime() -> Result<Arc<Runtime>> {
    Ok(Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build()?))
}

fn local(name: &str) -> Address {
    Address::local(name)
}

/// Nodes of ours, a channel from the first to the last over those in between, and what is at its end.
pub(crate) struct Ours {
    pub(crate) runtime: Arc<Runtime>,
    first: Node,
    others: Vec<Node>,
    encryptor: Address,
    counted: Arc<Counted>,
}

impl Ours {
    /// With so many nodes between the two ends.
    pub(crate) fn new(between: usize) -> Result<Self> {
        let runtime = runtime()?;
        let counted = Arc::new(Counted::default());
        let made = runtime.block_on(async {
            let first = Node::new(NodeOptions::default());
            let mut others = Vec::new();
            let mut way = String::new();
            for _ in 0..=between {
                let (node, at) = listening(&counted).await?;
                way.push_str(&format!("/ip4/{}/tcp/{}", at.ip(), at.port()));
                others.push(node);
            }
            let own = Somebody::new(Algorithm::Ed25519)?.options();
            let to = format!("{way}/secure/api").parse()?;
            let opened = first.resolve(&to, Some(&own), WAIT).await?;
            let encryptor = opened.channels.first().cloned().ok_or("no channel was opened")?;
            Result::Ok((first, others, encryptor))
        });
        let (first, others, encryptor) = made?;
        Ok(Self { runtime, first, others: others, encryptor, counted })
    }

    fn to(&self, worker: &str) -> Route {
        [self.encryptor.clone(), local(worker)].into_iter().collect()
    }

    /// Opens so many more channels to the last, and leaves them.
    pub(crate) async fn open_idle(&self, count: usize) -> Result<()> {
        let last = self.others.last().and_then(|last| last.tcp_listeners().into_iter().next());
        let at = last.ok_or("the last node does not listen")?.socket;
        let connection = self.first.connect_tcp(&at.to_string()).await?.address;
        let own = Somebody::new(Algorithm::Ed25519)?.options();
        for _ in 0..count {
            let to = [connection.clone(), local("api")].into_iter().collect();
            self.first.open_channel(to, own.clone(), WAIT).await?;
        }
        Ok(())
    }

    /// There and back.
    pub(crate) async fn round_trip(&self, payload: &[u8]) -> Result<Vec<u8>> {
        Ok(self.first.ask(self.to("echo"), payload.to_vec(), WAIT).await?.payload)
    }

    /// So many messages there, until the last has come.
    pub(crate) async fn stream(&self, payload: &[u8], count: u64) -> Result<()> {
        for _ in 0..count {
            self.first.send(Message::new(self.to("sink"), Route::default(), payload.to_vec())).await?;
        }
        self.counted.wait_for(count).await;
        Ok(())
    }
}

async fn listening(counted: &Arc<Counted>) -> Result<(Node, SocketAddr)> {
    let node = Node::new(NodeOptions { forwarding: Arc::new(Everything), ..NodeOptions::default() });
    let inside = Admission::local().of_listener(&local("api"));
    node.start_worker(local("echo"), Echo, inside.clone(), Runs::Inline)?;
    node.start_worker(local("sink"), Sink(Arc::clone(counted)), inside, Runs::Inline)?;
    let own = Somebody::new(Algorithm::Ed25519)?.options();
    node.listen_channels(local("api"), own, Admission::local().tcp())?;
    let at = node.listen_tcp(SocketAddr::from(([127, 0, 0, 1], 0))).await?.socket;
    Ok((node, at))
}

/// Their workers.
struct TheirEcho;
struct TheirSink(Arc<Counted>);

#[async_trait]
impl ockam_core::Worker for TheirEcho {
    type Context = Context;
    type Message = Any;

    async fn handle_message(
        &mut self,
        context: &mut Context,
        message: Routed<Any>,
    ) -> ockam_core::Result<()> {
        let message = message.into_local_message();
        context.send(message.return_route().clone(), NeutralMessage::from(message.into_payload())).await
    }
}

#[async_trait]
impl ockam_core::Worker for TheirSink {
    type Context = Context;
    type Message = Any;

    async fn handle_message(&mut self, _: &mut Context, _: Routed<Any>) -> ockam_core::Result<()> {
        self.0.one_more();
        Ok(())
    }
}

/// A node of theirs that has a channel to itself, over TCP.
pub(crate) struct Theirs {
    pub(crate) runtime: Arc<Runtime>,
    context: Arc<Context>,
    channel: ockam_core::Address,
    counted: Arc<Counted>,
}

impl Theirs {
    pub(crate) fn new() -> Result<Self> {
        let runtime = runtime()?;
        let (context, mut executor) =
            NodeBuilder::new().no_logging().no_exit_on_panic().with_runtime(Arc::clone(&runtime)).build();
        let context = Arc::new(context);
        let counted = Arc::new(Counted::default());
        let (tell, told) = std::sync::mpsc::channel();
        let (inside, counts) = (Arc::clone(&context), Arc::clone(&counted));
        // The node runs until the process ends.
        std::thread::spawn(move || {
            let _ = executor.execute(async move {
                let _ = tell.send(open(&inside, counts).await);
                std::future::pending::<ockam_core::Result<()>>().await
            });
        });
        let channel = told.recv()??;
        Ok(Self { runtime, context, channel, counted })
    }

    pub(crate) async fn round_trip(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let said = NeutralMessage::from(payload.to_vec());
        let to = route![self.channel.clone(), "echo"];
        let answer: NeutralMessage = self.context.send_and_receive(to, said).await?;
        Ok(answer.into_vec())
    }

    pub(crate) async fn stream(&self, payload: &[u8], count: u64) -> Result<()> {
        for _ in 0..count {
            let to = route![self.channel.clone(), "sink"];
            self.context.send(to, NeutralMessage::from(payload.to_vec())).await?;
        }
        self.counted.wait_for(count).await;
        Ok(())
    }
}

async fn open(context: &Context, counted: Arc<Counted>) -> Result<ockam_core::Address> {
    let crates = secure_channels().await?;
    let creation = crates.identities().identities_creation();
    let (alice, bob) = (creation.create_identity().await?, creation.create_identity().await?);
    let tcp = TcpTransport::create_new(context)?;
    let listening = TcpListenerOptions::new();
    let spawner = listening.spawner_flow_control_id();
    let listener = tcp.listen("127.0.0.1:0", listening).await?;
    let options = SecureChannelListenerOptions::new().as_consumer(&spawner);
    let channels = crates.create_secure_channel_listener(context, &bob, "api", options)?;
    context.start_worker("echo", TheirEcho)?;
    context.start_worker("sink", TheirSink(counted))?;
    for worker in ["echo", "sink"] {
        context.flow_controls().add_consumer(&worker.into(), channels.flow_control_id());
    }
    let to = listener.socket_address().to_string();
    let connection = tcp.connect(to, TcpConnectionOptions::new()).await?;
    let way = route![connection, "api"];
    let channel = crates.create_secure_channel(context, &alice, way, SecureChannelOptions::new()).await?;
    Ok(channel.encryptor_address().clone())
}

/// Handshakes of theirs, within one node and without TCP.
pub(crate) struct TheirHandshakes {
    pub(crate) runtime: Arc<Runtime>,
    context: Arc<Context>,
    crates: Arc<ockam_identity::SecureChannels>,
    alice: ockam_identity::Identifier,
}

impl TheirHandshakes {
    pub(crate) fn new() -> Result<Self> {
        let runtime = runtime()?;
        let (context, mut executor) =
            NodeBuilder::new().no_logging().no_exit_on_panic().with_runtime(Arc::clone(&runtime)).build();
        let context = Arc::new(context);
        let (tell, told) = std::sync::mpsc::channel();
        let inside = Arc::clone(&context);
        std::thread::spawn(move || {
            let _ = executor.execute(async move {
                let made = async {
                    let crates = secure_channels().await?;
                    let creation = crates.identities().identities_creation();
                    let (alice, bob) = (creation.create_identity().await?, creation.create_identity().await?);
                    let options = SecureChannelListenerOptions::new();
                    crates.create_secure_channel_listener(&inside, &bob, "listener", options)?;
                    Result::Ok((crates, alice))
                };
                let _ = tell.send(made.await);
                std::future::pending::<ockam_core::Result<()>>().await
            });
        });
        let (crates, alice) = told.recv()??;
        Ok(Self { runtime, context, crates, alice })
    }

    pub(crate) async fn open(&self) -> Result<()> {
        let to = route!["listener"];
        let options = SecureChannelOptions::new();
        let channel = self.crates.create_secure_channel(&self.context, &self.alice, to, options).await?;
        self.crates.stop_secure_channel(&self.context, channel.encryptor_address())?;
        Ok(())
    }
}
