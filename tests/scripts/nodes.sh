# What scripts do with nodes, written for `ockam` (tests/tests/same_script.rs). $OCKAM is the program, $PORT a free port, $ERRORS a file
# for standard error. `step` shows a command, what it writes to a pipe and its exit code; `out` is what it wrote.
step() {
  printf '$ %s\n' "$*" | sed "s#$OCKAM#ockam#g"
  printf '## %s\n' "$*" >>"$ERRORS"
  out=$(timeout 120 "$@" 2>>"$ERRORS" </dev/null)
  code=$?
  [ -z "$out" ] || printf '%s\n' "$out"
  [ "$code" = 0 ] || printf 'exit %s\n' "$code"
}

step $OCKAM identity create first
step $OCKAM identity create alice
ALICE=$out
step $OCKAM identity create alice
step $OCKAM identity show alice
step $OCKAM identity show alice --output json
step $OCKAM identity list --output json
step $OCKAM identity show alice --jq .identifier
step $OCKAM identity list --jq '.[] | select(.name == "alice") | .name, .is_default, .nothing'
step $OCKAM identity list --jq '[.[] | select(.is_default) | .name]' --compact-output
step $OCKAM identity list --output json --jq length
step $OCKAM identity list --jq 'map(.name) | sort'
step $OCKAM identity list --jq empty
step $OCKAM identity list --jq '.[0'
step $OCKAM identity show nobody --jq .identifier
step $OCKAM identity list --env NO_INPUT=true --jq length
step $OCKAM identity list --env NO_INPUT
step $OCKAM identity list --test-argument-parser
step $OCKAM identity nonsense --test-argument-parser
step $OCKAM identity default
step $OCKAM identity default alice
step $OCKAM identity show nobody
step $OCKAM identity delete nobody --yes
step $OCKAM vault list --output json
step $OCKAM vault show
step $OCKAM vault create second
step $OCKAM vault create second --output json
step $OCKAM vault create third --output json
step $OCKAM vault show third
step $OCKAM vault delete third --yes
step $OCKAM vault delete second --yes --output json
step $OCKAM vault show third

step $OCKAM node create n1
step $OCKAM node create n2 --identity alice
step $OCKAM node create n1
$OCKAM node create n3 >>"$ERRORS" 2>&1
step $OCKAM node create n4 --identity nobody
step $OCKAM node show n1
step $OCKAM node show n1 --output json
step $OCKAM node show nobody
step $OCKAM node show nobody --output json
step $OCKAM node list
step $OCKAM node list --output json
step $OCKAM node default
step $OCKAM node default n2
step $OCKAM node default n1
step $OCKAM node logs nobody

step $OCKAM node create n5 --status-endpoint 127.0.0.1:$PORT
step $OCKAM node show n5 --jq .status_endpoint_address
step bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3; head -n 1 <&3"
step bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'GET /show HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3; tail -n 1 <&3"
step bash -c "exec 3<>/dev/tcp/127.0.0.1/$PORT; printf 'GET /nonsense HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3; head -n 1 <&3"
$OCKAM node delete n5 --yes >>"$ERRORS" 2>&1
step $OCKAM status --timeout 1s --jq '[.identities[].name] | sort'
step $OCKAM status --timeout 1s --jq '[.nodes[].name] | sort'

step $OCKAM message send hello --from n1 --to /service/uppercase
step $OCKAM message send hello --to /node/n2/service/uppercase
step $OCKAM message send hello --from n1 --to /node/n2/service/echo
step $OCKAM message send 68656c6c6f --hex --from n1 --to /node/n2/service/echo
step $OCKAM message send hello --from n1 --to /node/nobody/service/echo
step $OCKAM message send hello --from nobody --to /service/echo
step $OCKAM message send hello --from n1 --to not-a-route
step $OCKAM message send hello --from n1 --to /service/nobody --timeout 1s
step $OCKAM message send hello --from n1 --to /node/n2/service/nobody --timeout 1s
step $OCKAM message send hello --to /node/n2/secure/api/service/uppercase
step $OCKAM message send zz --hex --from n1 --to /node/n2/service/echo

step $OCKAM secure-channel create --from n1 --to /node/n2/service/api
CHANNEL=$out
step $OCKAM message send hello --from n1 --to $CHANNEL/service/uppercase
step sh -c "printf '%s\n' $CHANNEL | $OCKAM message send hello --from n1 --to -/service/uppercase"
step sh -c "printf '%s\n' $CHANNEL | $OCKAM message send hello --from n1 --to /-/service/uppercase"
step sh -c "printf '%s' service/uppercase | $OCKAM message send hello --from n1 --to $CHANNEL/-"
step sh -c "$OCKAM secure-channel create --from n1 --to /node/n2/service/api --authorized $ALICE | $OCKAM message send hello --from n1 --to -/service/uppercase"
step $OCKAM secure-channel create --from n1 --to /node/n2/service/api -a $ALICE --output json
step $OCKAM secure-channel create --from n1 --to /node/nobody/service/api
step $OCKAM secure-channel create --from nobody --to /node/n2/service/api
step $OCKAM secure-channel create --from n1 --to nonsense
step $OCKAM secure-channel list --at n1
step $OCKAM secure-channel list --at n1 --output json
step $OCKAM secure-channel list --at n3 --output json
step $OCKAM secure-channel list --at nobody
step $OCKAM secure-channel delete ${CHANNEL#/service/} --at n1 --yes
step $OCKAM secure-channel delete ${CHANNEL#/service/} --at n1 --yes
step $OCKAM secure-channel list --at n1 --output json

step $OCKAM secure-channel-listener create private --at n2 --authorized $ALICE
step $OCKAM secure-channel-listener create private --at n2
step $OCKAM secure-channel-listener create other --at n2 --output json
step $OCKAM secure-channel-listener list --at n2
step $OCKAM secure-channel-listener list --at n2 --output json
step $OCKAM secure-channel-listener show other --at n2
step $OCKAM secure-channel-listener show other --at n2 --output json
step $OCKAM secure-channel-listener show nobody --at n2
$OCKAM secure-channel-listener delete other --at n2 >>"$ERRORS" 2>&1
step $OCKAM secure-channel-listener delete other --at n2
step $OCKAM secure-channel create --from n2 --to /service/private

step $OCKAM tcp-listener list --at n1 --output json
step $OCKAM tcp-listener list --at n1
step $OCKAM tcp-listener create 127.0.0.1:0 --at n1
step $OCKAM tcp-listener create 127.0.0.1:$PORT --at n1 --output json
step $OCKAM tcp-listener create 127.0.0.1:$PORT --at n2
step $OCKAM tcp-listener create nonsense --at n1
step $OCKAM tcp-listener show 127.0.0.1:$PORT --at n1
step $OCKAM tcp-listener show 127.0.0.1:$PORT --at n1 --output json
step $OCKAM tcp-connection create --from n2 --to 127.0.0.1:$PORT
step $OCKAM tcp-connection create --from n3 --to 127.0.0.1:$PORT --output json
step $OCKAM tcp-connection create --from n2 --to 127.0.0.1:1
step $OCKAM tcp-connection list --at n3
step $OCKAM tcp-connection list --at n3 --output json
step $OCKAM tcp-connection show 127.0.0.1:$PORT --at n3
step $OCKAM tcp-connection show 127.0.0.1:$PORT --at n3 --output json
step $OCKAM tcp-connection show 127.0.0.1:1 --at n3
step $OCKAM tcp-connection delete 127.0.0.1:$PORT --at n3 --yes
step $OCKAM tcp-listener delete 127.0.0.1:$PORT --at n1 --yes
step $OCKAM tcp-listener delete 127.0.0.1:$PORT --at n1 --yes

step $OCKAM service start hop --at n2
step $OCKAM service start hop --at n2
step $OCKAM service start hop --addr bridge --at n2
step $OCKAM message send hello --from n1 --to /node/n2/service/hop/service/uppercase

step $OCKAM relay create blue --at /node/n2 --to n1
step $OCKAM relay create green --at /node/n2 --to n1 --output json
step $OCKAM relay create blue --at /node/n2 --to n1
step $OCKAM relay create blue --at /node/nobody --to n1
step $OCKAM relay list --to n1
step $OCKAM relay list --to n1 --output json
step $OCKAM relay list --to n3 --output json
step $OCKAM relay show blue --at n1
step $OCKAM relay show blue --at n1 --output json
step $OCKAM relay show nobody --at n1
step $OCKAM message send hello --from n3 --to /node/n2/service/forward_to_blue/service/uppercase
step sh -c "$OCKAM secure-channel create --from n3 --to /node/n2/service/forward_to_blue/service/api | $OCKAM message send hello --from n3 --to -/service/uppercase"
step $OCKAM relay delete blue --at n1 --yes
step $OCKAM relay delete blue --at n1 --yes
step $OCKAM relay create red --at n2 --to /node/n1 --relay-address wine
step $OCKAM relay show red --at n1 --output json
step $OCKAM message send hello --from n3 --to /node/n2/service/forward_to_wine/service/uppercase
step $OCKAM relay create blue --at n2 --to n1 --project-relay
step $OCKAM relay create later --at /ip4/127.0.0.1/tcp/1 --to n1 --no-connection-wait
step $OCKAM relay show later --at n1 --output json
step $OCKAM relay create later --at /ip4/127.0.0.1/tcp/1 --to n1 --no-connection-wait
step $OCKAM relay delete later --at n1 --yes --output json

step $OCKAM policy create --at n1 --resource echo --allow '(= subject.role "member")'
step $OCKAM policy create --at n1 --resource-type echoer --allow 'role=member' --output json
step $OCKAM policy create --at n1 --resource echo --allow '(= subject.role'
step $OCKAM policy create --at n1 --resource-type nobody --allow 'role=member'
step $OCKAM policy show echo --at n1
step $OCKAM policy show echo --at n1 --output json
step $OCKAM policy list echo --at n1 --output json
step $OCKAM policy delete echo --at n1 --yes

step $OCKAM identity show alice --full --encoding hex
HISTORY=$out
step $OCKAM credential issue --as alice --for $ALICE --attribute role=member --encoding hex
CREDENTIAL=$out
step $OCKAM credential verify --issuer $ALICE --credential $CREDENTIAL
step $OCKAM credential verify --issuer $ALICE --credential 00
step $OCKAM credential store --issuer $ALICE --scope test --credential $CREDENTIAL

step $OCKAM node stop n3
step $OCKAM node stop nobody
$OCKAM node start n3 >>"$ERRORS" 2>&1
step $OCKAM node start nobody
step $OCKAM message send hello --from n3 --to /node/n2/service/uppercase
step $OCKAM node delete n3 --yes
step $OCKAM node delete n3 --yes
step $OCKAM node delete nobody --force --yes
step $OCKAM identity delete alice --yes
step $OCKAM node nonsense
step $OCKAM node create --nonsense
step $OCKAM node list --output json --quiet
$OCKAM node delete --all --yes >>"$ERRORS" 2>&1
step $OCKAM node list --output json
step $OCKAM identity delete alice --yes
step $OCKAM reset --yes
