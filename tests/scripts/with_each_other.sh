# Nodes, tickets and authorities of `ockam` and of `ockam-kms` with each other (tests/tests/same_script.rs). $OCKAM is the real
# program, $KMS ours; $PORT1 to $PORT4 are free ports. What has to be alike is checked here: the script ends where something is not.
set -eu
is() { [ "$2" = "$3" ] || { echo "$1: wanted \`$3\`, found \`$2\`"; exit 1; }; }
has() { printf '%s' "$2" | grep -q -e "$3" || { echo "$1: no \`$3\` in \`$2\`"; exit 1; }; }
trap '"$OCKAM" node delete --all --yes; "$KMS" reset --yes' EXIT

THEIRS=$("$OCKAM" identity create theirs)
OURS=$("$KMS" identity create ours)
"$OCKAM" node create theirs --identity theirs --tcp-listener-address "127.0.0.1:$PORT1"
"$KMS" node create ours --identity ours --tcp-listener-address "127.0.0.1:$PORT2"
AT_THEIRS=/ip4/127.0.0.1/tcp/$PORT1 AT_OURS=/ip4/127.0.0.1/tcp/$PORT2

# Messages and channels, in each direction.
is 'a message to us' "$("$OCKAM" message send hello --from theirs --to "$AT_OURS/service/uppercase")" HELLO
is 'a message to them' "$("$KMS" message send hello --from ours --to "$AT_THEIRS/service/uppercase")" HELLO
CHANNEL=$("$OCKAM" secure-channel create --from theirs --to "$AT_OURS/service/api" --authorized "$OURS")
is 'through their channel' "$("$OCKAM" message send hello --from theirs --to "$CHANNEL/service/uppercase")" HELLO
CHANNEL=$("$KMS" secure-channel create --from ours --to "$AT_THEIRS/service/api" --authorized "$THEIRS")
is 'through our channel' "$("$KMS" message send hello --from ours --to "$CHANNEL/service/uppercase")" HELLO
is 'a channel for one message' "$("$OCKAM" message send hello --to "$AT_OURS/secure/api/service/uppercase")" HELLO
is 'a channel for one of ours' "$("$KMS" message send hello --to "$AT_THEIRS/secure/api/service/uppercase")" HELLO

# Relays of each at the other, over TCP and through a channel, reached by a third node of either.
"$OCKAM" node create third
"$KMS" node create third
reached() {
  is "$1: their message" "$("$OCKAM" message send hello --from third --to "$2/service/uppercase")" HELLO
  is "$1: our message" "$("$KMS" message send hello --from third --to "$2/service/uppercase")" HELLO
  CHANNEL=$("$OCKAM" secure-channel create --from third --to "$2/service/api" --authorized "$3")
  is "$1: their channel" "$("$OCKAM" message send hello --from third --to "$CHANNEL/service/uppercase")" HELLO
  CHANNEL=$("$KMS" secure-channel create --from third --to "$2/service/api" --authorized "$3")
  is "$1: our channel" "$("$KMS" message send hello --from third --to "$CHANNEL/service/uppercase")" HELLO
}
answers() { [ "$("$KMS" message send hello --from third --to "$1/service/uppercase" --timeout 1s)" = HELLO ]; }
again() {
  TRIES=0
  until answers "$2"; do
    TRIES=$((TRIES + 1))
    [ "$TRIES" -lt 120 ] || { echo "$1: is not registered anew"; exit 1; }
  done
}
gone() { ! answers "$2" || { echo "$1: is still there"; exit 1; }; }
is 'their relay' "$("$OCKAM" relay create blue --at "$AT_OURS" --to theirs)" /service/forward_to_blue
reached 'their relay' "$AT_OURS/service/forward_to_blue" "$THEIRS"
is 'their relay in a channel' "$("$OCKAM" relay create red --at "$AT_OURS/secure/api" --to theirs --relay-address wine)" /service/forward_to_wine
reached 'their relay in a channel' "$AT_OURS/service/forward_to_wine" "$THEIRS"
"$KMS" node stop ours
"$KMS" node start ours
again 'their relay' "$AT_OURS/service/forward_to_blue"
again 'their relay in a channel' "$AT_OURS/service/forward_to_wine"
"$OCKAM" relay delete blue --at theirs --yes
gone 'their relay' "$AT_OURS/service/forward_to_blue"
is 'our relay' "$("$KMS" relay create blue --at "$AT_THEIRS" --to ours)" /service/forward_to_blue
reached 'our relay' "$AT_THEIRS/service/forward_to_blue" "$OURS"
is 'our relay in a channel' "$("$KMS" relay create red --at "$AT_THEIRS/secure/api" --to ours --relay-address wine)" /service/forward_to_wine
reached 'our relay in a channel' "$AT_THEIRS/service/forward_to_wine" "$OURS"
"$OCKAM" node stop theirs
"$OCKAM" node start theirs
again 'our relay' "$AT_THEIRS/service/forward_to_blue"
again 'our relay in a channel' "$AT_THEIRS/service/forward_to_wine"
"$KMS" relay delete blue --at ours --yes
gone 'our relay' "$AT_THEIRS/service/forward_to_blue"

# Our authority, their clients: an imported project, a ticket, enrolment, members.
ISSUER=$("$KMS" identity create issuer)
HISTORY=$("$KMS" identity show issuer --full --encoding hex)
"$KMS" authority create --project-identifier demo --identity issuer --tcp-listener-address "127.0.0.1:$PORT3" \
  --trusted-identities "{\"$THEIRS\":{\"ockam-role\":\"enroller\"}}"
cat >project.json <<JSON
{"id":"demo","name":"demo","space_name":"space","space_id":"space","users":[],"user_roles":[],"version":"1","running":true,"operation_id":null,
 "identity":"$ISSUER","project_change_history":"$HISTORY","access_route":"/dnsaddr/localhost/tcp/$PORT3/service/demo",
 "authority_identity":"$HISTORY","authority_access_route":"/dnsaddr/localhost/tcp/$PORT3/service/api"}
JSON
"$OCKAM" project import --project-file project.json
TICKET=$("$OCKAM" project ticket --identity theirs --project demo --attribute role=member --usage-count 2)
MEMBER=$("$OCKAM" identity create member)
has 'they enrol' "$("$OCKAM" project enroll "$TICKET" --identity member)" '"role": "member"'
has 'we enrol' "$("$KMS" project enroll "$TICKET" --identity ours --output json)" '"project_name":"demo"'
has 'their list of members' "$("$OCKAM" project-member list --identity theirs --project-name demo --output json)" "$MEMBER"
has 'their list of members' "$("$OCKAM" project-member list --identity theirs --project-name demo --output json)" "$OURS"

# Their authority, our clients.
"$OCKAM" identity create their-issuer
HISTORY=$("$OCKAM" identity show their-issuer --full --encoding hex)
"$OCKAM" authority create --project-identifier other --identity their-issuer --tcp-listener-address "127.0.0.1:$PORT4" \
  --trusted-identities "{\"$OURS\":{\"ockam-role\":\"enroller\"}}"
ROUTE=/dnsaddr/localhost/tcp/$PORT4/service/api
TICKET=$("$KMS" project ticket --identity ours --authority-route "$ROUTE" --authority-identity "$HISTORY" \
  --project-identifier other --attribute role=member)
MEMBER=$("$KMS" identity create member)
has 'we enrol with them' "$("$KMS" project enroll "$TICKET" --identity member --output json)" '"project_name":"other"'
MEMBERS=$("$KMS" project-member list --identity ours --authority-route "$ROUTE" --authority-identity "$HISTORY" --output json)
has 'our list of their members' "$MEMBERS" "$MEMBER"
echo 'all of it'
