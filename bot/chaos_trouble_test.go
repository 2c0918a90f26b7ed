//go:build !windows

package bot

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"auditbot/auditlog/tenantsim"
	"auditbot/bot/slacksim"
)

// slackTrouble is what goes wrong at Slack: one request in five, before or after
// it was served, one event in seven, and the end of every connection.
func slackTrouble(r *rand.Rand) []slacksim.Odds {
	var all []slacksim.Odds
	add := func(share float64, faults ...slacksim.Fault) {
		for _, f := range faults {
			all = append(all, slacksim.Odds{Share: share, Fault: f})
		}
	}
	for _, m := range append(slices.Sorted(maps.Keys(paced)), "upload") {
		add(0.02, slacksim.HTTPError(m, 500), slacksim.RateLimited(m, time.Second), slacksim.Lost(m),
			slacksim.Done(slacksim.HTTPError(m, 503)), slacksim.Late(m, upTo(r, chaosSlackWait/2)), slacksim.Stray(m, upTo(r, chaosSlackWait)))
		add(0.01, slacksim.Hang(m), slacksim.Done(slacksim.Hang(m)), slacksim.Done(slacksim.RateLimited(m, time.Second)))
		if m != "upload" { // which is no method
			add(0.01, slacksim.APIError(m, "internal_error"), slacksim.Done(slacksim.APIError(m, "internal_error")))
		}
	}
	const open = "apps.connections.open"
	add(0.03, slacksim.HTTPError(open, 500), slacksim.RateLimited(open, time.Second), slacksim.APIError(open, "internal_error"),
		slacksim.Lost(open), slacksim.Late(open, upTo(r, time.Second)))
	add(0.005, slacksim.Hang(open)) // which costs 20 seconds
	const link, event = "link", "event"
	add(0.03, slacksim.HTTPError(link, 503), slacksim.APIError(link, "too_many_websockets"), slacksim.Lost(link), slacksim.Late(link, upTo(r, time.Second)))
	for range 5 {
		add(0.03, slacksim.Cut(upTo(r, 10*time.Second)), slacksim.Frozen(upTo(r, 10*time.Second)),
			slacksim.Dismissed("warning", upTo(r, 10*time.Second)), slacksim.Dismissed("refresh_requested", upTo(r, 10*time.Second)),
			slacksim.Dismissed("too_many_websockets", upTo(r, 10*time.Second)))
		add(0.02, slacksim.Late(event, upTo(r, time.Second)))
	}
	add(0.03, slacksim.Dismissed("link_disabled", upTo(r, 10*time.Second)))
	add(0.02, slacksim.Lost(event), slacksim.Hang(event))
	return all
}

// tenantTrouble is what goes wrong at Microsoft: one search in five, and one
// sign-in in seven.
func tenantTrouble() []tenantsim.Odds {
	var all []tenantsim.Odds
	add := func(share float64, faults ...tenantsim.Fault) {
		for _, f := range faults {
			all = append(all, tenantsim.Odds{Share: share, Fault: f})
		}
	}
	add(0.02, tenantsim.Throttled(time.Second), tenantsim.Unavailable, tenantsim.GaveUp, tenantsim.TimedOut, tenantsim.Reset)
	add(0.01, tenantsim.Unauthorized, tenantsim.Silent, tenantsim.Hung, tenantsim.NotJSON, tenantsim.Mislabelled, tenantsim.Garbled)
	add(0.05, tenantsim.Late(1500*time.Millisecond))
	for _, name := range []string{"token", "devicecode"} {
		add(0.03, tenantsim.Throttled(time.Second).On(name), tenantsim.Unavailable.On(name), tenantsim.Reset.On(name), tenantsim.Late(time.Second).On(name))
		add(0.01, tenantsim.Hung.On(name), tenantsim.NotJSON.On(name))
	}
	return all
}

// upTo is a random time of at least a twentieth of most.
func upTo(r *rand.Rand, most time.Duration) time.Duration {
	return most/20 + time.Duration(r.Int64N(int64(most-most/20)))
}
