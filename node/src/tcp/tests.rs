//! What one connection may take, with waits that a test can wait out.

use std::net::SocketAddr;

use channel::{Address, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::*;
use crate::node::NodeOptions;
use crate::workers::Echo;
use crate::{Admission, Runs};

/// Longer than anything here takes on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

/// A node with `echo`, and where it listens.
async fn node() -> (Node, SocketAddr) {
    let node = Node::new(NodeOptions::default());
    node.start_worker(Address::local("echo"), Echo, Admission::local().tcp(), Runs::Inline).unwrap();
    let at = node.listen_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap().socket;
    (node, at)
}

/// A frame to `echo`, its length before it.
fn frame(payload: usize) -> Vec<u8> {
    let (onward, back) = (Address::local("echo"), Address::local("mine"));
    let message = Message::new(Route(vec![onward]), Route(vec![back]), vec![7; payload]);
    let frame = frame::Frame::new(message).unwrap();
    [&frame.head[..], &frame.payload, &frame::TAIL].concat()
}

async fn greet(mut stream: TcpStream) -> TcpStream {
    stream.write_all(&[1]).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    stream
}

async fn connect(to: SocketAddr) -> TcpStream {
    greet(TcpStream::connect(to).await.unwrap()).await
}

/// Whether an answer comes, and not the end.
async fn is_answered(stream: &mut TcpStream) -> bool {
    let answer = async {
        let length = stream.read_u32().await?;
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).await
    };
    timeout(WAIT, answer).await.expect("neither comes").is_ok()
}

#[tokio::test]
async fn a_frame_that_drips_ends_the_connection() {
    let (_node, at) = node().await;
    let mut stranger = connect(at).await;
    let mut went = Ok(());
    // No pause is as long as what a silent one would have.
    for byte in frame(8) {
        went = went.and(stranger.write_all(&[byte]).await);
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!is_answered(&mut stranger).await);
}

#[tokio::test]
async fn long_frames_share_what_there_is_for_them_and_short_ones_do_not_wait() {
    let (_node, at) = node().await;
    let mut greedy = connect(at).await;
    let all = frame(1000 * 1024);
    greedy.write_all(&all[..300 * 1024]).await.unwrap();
    let mut honest = connect(at).await;
    // What was sent before has been read by then, as far as it is.
    sleep(Duration::from_millis(300)).await;
    honest.write_all(&frame(200 * 1024)).await.unwrap();
    assert!(is_answered(&mut honest).await);
    let _ = honest.write_all(&frame(300 * 1024)).await;
    assert!(!is_answered(&mut honest).await, "there is room for one of them");
    // What has been read whole gives its room back, and what was cut off as well.
    greedy.write_all(&all[300 * 1024..]).await.unwrap();
    assert!(is_answered(&mut greedy).await);
    greedy.write_all(&all[..300 * 1024]).await.unwrap();
    drop(greedy);
    let mut next = connect(at).await;
    for _ in 0..5 {
        next.write_all(&all).await.unwrap();
        assert!(is_answered(&mut next).await);
    }
}

#[tokio::test]
async fn who_sends_nothing_more_and_takes_a_little_now_and_then_is_cut_off() {
    const FRAMES: usize = 6;
    let (_node, at) = node().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut stranger = greet(socket.connect(at).await.unwrap()).await;
    let asked = frame(900 * 1024);
    for _ in 0..FRAMES {
        stranger.write_all(&asked).await.unwrap();
    }
    stranger.shutdown().await.unwrap();
    // No pause is as long as what one who takes nothing would have.
    let (mut taken, mut piece) = (0, vec![0; 64 * 1024]);
    while let Ok(more) = timeout(WAIT, stranger.read(&mut piece)).await.expect("neither comes") {
        if more == 0 {
            break;
        }
        taken += more;
        sleep(Duration::from_millis(40)).await;
    }
    println!("{taken} bytes of {}", FRAMES * asked.len());
    assert!(taken < FRAMES * asked.len(), "all of it was written, however long that took");
}
