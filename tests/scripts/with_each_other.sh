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

# Messages, channels and relays, in each direction.
is 'a message to us' "$("$OCKAM" message send hello --from theirs --to "$AT_OURS/service/uppercase")" HELLO
is 'a message to them' "$("$KMS" message send hello --from ours --to "$AT_THEIRS/service/uppercase")" HELLO
CHANNEL=$("$OCKAM" secure-channel create --from theirs --to "$AT_OURS/service/api" --authorized "$OURS")
is 'through their channel' "$("$OCKAM" message send hello --from theirs --to "$CHANNEL/service/uppercase")" HELLO
CHANNEL=$("$KMS" secure-channel create --from ours --to "$AT_THEIRS/service/api" --authorized "$THEIRS")
is 'through our channel' "$("$KMS" message send hello --from ours --to "$CHANNEL/service/uppercase")" HELLO
is 'a channel for one message' "$("$OCKAM" message send hello --to "$AT_OURS/secure/api/service/uppercase")" HELLO
is 'a channel for one of ours' "$("$KMS" message send hello --to "$AT_THEIRS/secure/api/service/uppercase")" HELLO

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
