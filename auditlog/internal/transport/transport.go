// Package transport is what calls of Microsoft's services have in common on
// their way there and back, whatever they ask: package exchange and package
// graph are built on it, and package signin uses parts of it.
//
// One call goes like this. [WithToken] gets the token and calls back with it.
// The request carries [SetHeader]'s headers and a [NewGUID] as its id, and is
// sent with a [Client]. If no answer came, [Lost] says so. [Pause] then waits
// for the next try, or says that none is due, and [Unreached] tells people.
//
// # Where to look
//
//   - client.go: what sends requests, and what all of them carry.
//   - address.go: where a token may go.
//   - token.go: a token that is refused, and the one after it.
//   - wait.go: what is tried again, and how long that waits.
//   - lost.go: calls to which no answer came, and what they mean to people.
//   - text.go: the services' words, made fit to be shown.
package transport
