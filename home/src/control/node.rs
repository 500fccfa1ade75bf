//! What a running node can be asked for on its control socket.

use serde::{Deserialize, Serialize};

/// Who a node is in a channel, when it is not who it is by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PartyAsk {
    /// The name of an identity of the home.
    pub identity: Option<String>,
    /// A credential to present, as hex, beside those that are stored.
    pub credential: Option<String>,
}

/// What a policy is for: a resource by its name, or all of a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum PolicyFor {
    /// The resource of this name.
    Resource(String),
    /// All resources of this type.
    ResourceType(String),
}

/// What a node can be asked for. Routes are multiaddresses in which names of nodes were looked up; times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "node", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NodeAsk {
    /// To open a secure channel.
    OpenChannel {
        /// The way to the listener.
        to: String,
        /// Who the node is in it.
        party: PartyAsk,
        /// The identifiers that may be at the other end; anybody's when there are none.
        authorized: Vec<String>,
        /// How long it may take.
        wait: u64,
    },
    /// To list its secure channels.
    Channels,
    /// To close a secure channel.
    CloseChannel {
        /// Its address.
        address: String,
    },
    /// To take secure channels at an address.
    ListenChannels {
        /// The address.
        address: String,
        /// Who the node is in them.
        party: PartyAsk,
        /// The identifiers that may open one; anybody's when there are none.
        authorized: Vec<String>,
    },
    /// To list where it takes secure channels.
    ChannelListeners,
    /// To take no more secure channels at an address.
    StopChannelListener {
        /// The address.
        address: String,
    },
    /// To send a message and wait for one answer.
    Send {
        /// The way.
        to: String,
        /// The bytes, as hex.
        payload: String,
        /// Who the node is in channels that the way opens.
        party: PartyAsk,
        /// How long the answer may take.
        wait: u64,
    },
    /// To connect by TCP.
    Connect {
        /// `HOST:PORT`.
        to: String,
    },
    /// To list its TCP connections.
    Connections,
    /// To end a TCP connection.
    Disconnect {
        /// Its address, or `HOST:PORT` of the other end.
        address: String,
    },
    /// To listen for TCP connections.
    Listen {
        /// `ADDRESS:PORT`.
        address: String,
    },
    /// To list its TCP listeners.
    Listeners,
    /// To end a TCP listener.
    StopListener {
        /// Its address, or `ADDRESS:PORT`.
        address: String,
    },
    /// To start a service that is not there by itself.
    StartService {
        /// Which one: `hop`.
        service: String,
        /// Where.
        address: String,
    },
    /// To list its services.
    Services,
    /// To list its workers.
    Workers,
    /// To register a relay at another node.
    CreateRelay {
        /// The way to the other node.
        to: String,
        /// The name of the relay.
        name: String,
        /// What it is called at the other node, when that is not its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Who the node is in channels that the way opens.
        party: PartyAsk,
        /// The identifiers that the other node may have; any when there are none.
        authorized: Vec<String>,
        /// How long it may take; nothing when it is not waited for.
        wait: Option<u64>,
    },
    /// To list the relays that it has at other nodes.
    Relays,
    /// To take nothing more from a relay.
    DeleteRelay {
        /// Its name.
        name: String,
    },
    /// To decide by a policy who reaches a resource.
    SetPolicy {
        /// What it is for.
        to: PolicyFor,
        /// The policy.
        policy: String,
    },
    /// To list its policies.
    Policies,
    /// To forget a policy.
    RemovePolicy {
        /// What it is for.
        to: PolicyFor,
    },
}
