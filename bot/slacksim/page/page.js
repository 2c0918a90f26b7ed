// The simulated workspace's page: channels, messages, one thread, as one of
// its people sees them. What is open is in the address: ?as=U1#C1/1732443300.000100
import {el, icon} from './draw.js';
import {Composer} from './composer.js';
import {avatar, clock, day, drawMessage, when} from './message.js';
import {sync} from './sync.js';

const byId = id => document.getElementById(id);

let as = new URLSearchParams(location.search).get('as') ?? '';
let workspace = {name: '', users: new Map(), channels: new Map()};
let messages = new Map(); // channel id -> Map of ts -> message
let place = {channel: '', thread: ''};
const known = new Set(); // who has typed here before
const read = new Map(); // channel, or channel/thread, -> ts of the newest message that was on the screen

// load gets the whole workspace as it is now.
async function load() {
	const answer = await fetch('/page/state?as=' + encodeURIComponent(as), {cache: 'no-store'});
	if (answer.status === 404 && as) {
		as = ''; // whoever it was is not in this workspace
		return load();
	}
	if (!answer.ok) {
		throw new Error(await answer.text());
	}
	const state = await answer.json();
	if (as !== state.as) {
		become(state.as);
	}
	const byKey = list => new Map(list.map(x => [x.id, x]));
	workspace = {name: state.workspace, users: byKey(state.users), channels: byKey(state.channels)};
	messages = new Map(state.channels.map(c => [c.id, new Map()]));
	state.messages.forEach(keep);
	if (!known.has(as)) {
		known.add(as);
		begin();
	}
}

// begin makes old what was there before somebody came. What waits in a DM is
// new, though: it is for them.
function begin() {
	for (const [id, list] of messages) {
		if (!isDM(workspace.channels.get(id))) {
			markRead(id, [...list.values()]);
			list.forEach(m => markRead(id + '/' + (m.thread_ts || m.ts), [m]));
		}
	}
}

// become makes somebody the one who types.
function become(id) {
	as = id;
	const url = new URL(location.href);
	url.searchParams.set('as', id);
	history.replaceState(null, '', url);
}

function keep(message) {
	const channel = messages.get(message.channel);
	if (message.deleted) {
		channel?.delete(message.ts);
	} else {
		channel?.set(message.ts, message);
	}
}

let source;

// connect listens to what happens, and goes on doing so. Each time that the
// stream opens the state is loaded anew, so nothing in between is missed.
function connect() {
	source?.close();
	const stream = source = new EventSource('/page/events?as=' + encodeURIComponent(as));
	let early = []; // what happens while the state is on its way
	const again = () => {
		byId('offline').hidden = false;
		if (stream === source) {
			stream.close();
			setTimeout(() => stream === source && connect(), 1000);
		}
	};
	stream.onopen = async () => {
		try {
			early = [];
			await load();
			if (stream !== source) {
				return;
			}
			early.forEach(keep);
			early = null;
			byId('offline').hidden = true;
			if (place.thread && !sorted(place.channel).some(m => m.ts === place.thread || m.thread_ts === place.thread)) {
				first(); // it is another workspace than before
			}
			render();
		} catch {
			again();
		}
	};
	stream.onmessage = e => {
		const message = JSON.parse(e.data);
		if (early) {
			early.push(message);
		} else if (!messages.has(message.channel) || message.user && !workspace.users.has(message.user)) {
			connect(); // a new conversation, or somebody new
		} else {
			keep(message);
			render();
		}
	};
	stream.onerror = again;
}

const sorted = channel => [...(messages.get(channel)?.values() ?? [])].sort((a, b) => parseFloat(a.ts) - parseFloat(b.ts));
const isReply = m => m.thread_ts && m.thread_ts !== m.ts;
const threadOf = (all, ts) => all.filter(m => isReply(m) && m.thread_ts === ts);

// names is for draw: what people and channels are called.
const names = {
	get me() {
		return as;
	},
	user: id => person(id).name,
	channel: id => workspace.channels.get(id)?.name,
};

function person(id) {
	return workspace.users.get(id) ?? {id, name: id || 'unknown', bot: false};
}

// title is what a conversation is called by who sees it.
function title(channel) {
	if (channel.kind === 'channel' || channel.kind === 'group') {
		return channel.name;
	}
	return channel.members.filter(m => m !== as).map(m => person(m).name).join(', ') || person(as).name;
}

const isDM = channel => channel.kind === 'im' || channel.kind === 'mpim';

// follow reads what is open from the address.
function follow() {
	const [channel, thread = ''] = location.hash.slice(1).split('/');
	place = {channel, thread};
	document.body.dataset.view = thread ? 'thread' : channel ? 'list' : 'places';
	if (!workspace.channels.has(channel)) {
		place = {channel: workspace.channels.keys().next().value ?? '', thread: ''};
		document.body.dataset.view = 'places';
	}
}

const address = (channel, thread) => '#' + channel + (thread ? '/' + thread : '');

function render() {
	follow();
	renderThread(); // what is seen in it is not new in the list, nor in the places
	renderList();
	renderPlaces();
	const fresh = [...workspace.channels.keys()].reduce((sum, id) => sum + unread(id), 0);
	const channel = workspace.channels.get(place.channel);
	document.title = `${fresh ? `(${fresh}) ` : ''}${channel ? (isDM(channel) ? '' : '#') + title(channel) + ' · ' : ''}${workspace.name} (simulated)`;
}

// unread counts what somebody has not seen of a conversation. A reply is seen
// when its thread is open.
function unread(id) {
	return sorted(id).reduce((sum, m) => sum + countSince(isReply(m) ? id + '/' + m.thread_ts : id, [m]), 0);
}

function countSince(key, list) {
	return list.filter(m => m.user !== as && parseFloat(m.ts) > (read.get(as + key) ?? 0)).length;
}

function markRead(key, list) {
	read.set(as + key, Math.max(read.get(as + key) ?? 0, ...list.map(m => parseFloat(m.ts))));
}

function renderPlaces() {
	byId('workspace').textContent = workspace.name;
	byId('me-avatar').replaceChildren(avatar(person(as)));
	const group = (heading, channels) => [
		{key: heading, version: '', make: () => el('h3', {}, heading)},
		...channels.map(c => {
			const fresh = c.id === place.channel ? 0 : unread(c.id);
			const here = c.id === place.channel;
			return {
				key: c.id, version: [title(c), fresh, here].join('\n'),
				make: () => el('a', {class: 'place', href: address(c.id), 'aria-current': here && 'page'},
					placeIcon(c), el('span', {class: 'place-name'}, title(c)),
					c.shared && el('span', {class: 'badge', title: 'Shared with another organisation'}, 'shared'),
					fresh > 0 && el('span', {class: 'unread', 'aria-label': fresh + ' unread'}, String(fresh))),
			};
		}),
	];
	const channels = [...workspace.channels.values()];
	sync(byId('places'), [...group('Channels', channels.filter(c => !isDM(c))), ...group('Direct messages', channels.filter(isDM))]);
	renderPeople();
}

function placeIcon(channel) {
	if (isDM(channel)) {
		return avatar(person(channel.members.find(m => m !== as) ?? as));
	}
	return channel.kind === 'group' ? icon('lock') : el('span', {class: 'hash', 'aria-hidden': 'true'}, '#');
}

function renderPeople() {
	const people = [...workspace.users.values()].filter(u => u.can_type);
	sync(byId('person'), people.map(u => ({
		key: u.id, version: u.name + u.badge,
		make: () => el('option', {value: u.id}, u.badge ? `${u.name} (${u.badge})` : u.name),
	})));
	byId('person').value = as;
}

const pause = 5 * 60; // seconds after which a message shows its author again

// items turns messages into what sync wants, with a line for each new day.
function items(list, {all, inThread}) {
	const out = [];
	let before;
	for (const m of list) {
		if (!before || day(before.ts) !== day(m.ts)) {
			out.push({key: 'day ' + day(m.ts), version: '', make: () => el('div', {class: 'day'}, el('span', {}, day(m.ts)))});
			before = undefined;
		}
		out.push(item(m, {
			compact: before?.user === m.user && !before.only_you === !m.only_you && parseFloat(m.ts) - parseFloat(before.ts) < pause,
			replies: inThread ? [] : threadOf(all, m.ts), inThread,
		}));
		before = m;
	}
	return out;
}

function item(m, {compact, replies, inThread}) {
	const key = place.channel + '/' + m.ts;
	const openThread = () => {
		location.hash = address(place.channel, m.ts);
	};
	const thread = {count: replies.length, last: replies.at(-1)?.ts, fresh: countSince(key, replies), open: openThread};
	const author = person(m.user);
	const mine = Object.create(names, {press: {value: action => press(m, action)}});
	return {
		key, version: JSON.stringify([m, compact, thread.count, thread.last, thread.fresh, author, as]),
		make: () => drawMessage(m, {author, names: mine, compact, thread, startThread: !inThread && !m.only_you && openThread}),
	};
}

// press presses a button under a message, and returns why it could not.
async function press(m, button) {
	try {
		const answer = await fetch('/page/press', {
			method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({as, channel: m.channel, ts: m.ts, button}),
		});
		return answer.ok ? '' : await answer.text();
	} catch (e) {
		return 'The simulator does not answer: ' + e.message;
	}
}

function renderList() {
	const channel = workspace.channels.get(place.channel);
	const all = sorted(place.channel);
	const roots = all.filter(m => !isReply(m));
	markRead(place.channel, roots);
	byId('list-title').replaceChildren(...(channel ? [placeIcon(channel), title(channel)] : []));
	byId('list-about').textContent = channel ? about(channel) : '';
	fill('list-messages', place.channel, items(roots, {all}), 'Nothing has been said here yet.');
	composers.list.aim(place.channel, '', channel ? `Message ${isDM(channel) ? '' : '#'}${title(channel)} as ${person(as).name} …` : '');
}

function about(channel) {
	if (channel.kind === 'im') {
		return person(channel.members.find(m => m !== as)).bot ? 'app · only you see this conversation' : 'direct message';
	}
	return channel.members.length + ' members' + (channel.shared ? ' · shared with another organisation' : '');
}

function renderThread() {
	const {channel, thread} = place;
	document.body.classList.toggle('with-thread', thread !== '');
	if (!thread) {
		return;
	}
	const all = sorted(channel);
	const replies = threadOf(all, thread);
	markRead(channel + '/' + thread, replies);
	const root = all.find(m => m.ts === thread);
	const top = root ? items([root], {all, inThread: true}) : [{key: 'gone', version: '', make: () => el('p', {class: 'empty'}, 'The message that this thread is about is gone.')}];
	const count = replies.length === 1 ? '1 reply' : replies.length + ' replies';
	const line = {key: 'line', version: count, make: () => el('div', {class: 'line'}, el('span', {}, replies.length ? count : 'No replies yet'))};
	const where = workspace.channels.get(channel);
	byId('thread-about').textContent = (isDM(where) ? '' : '#') + title(where);
	byId('close').href = byId('to-list').href = address(channel);
	byId('hint').hidden = hintDone();
	composers.thread.aim(channel, thread, `Reply as ${person(as).name} …`);
	const days = root && replies[0] && day(replies[0].ts) === day(root.ts) ? 1 : 0; // that day has been named
	fill('thread-messages', channel + '/' + thread, [...top, line, ...items(replies, {all, inThread: true}).slice(days)]);
}

const shown = new Map(); // id of a list -> which conversation it shows

// fill puts items into a list of messages, which stays at its end if it was.
function fill(id, conversation, list, empty = '') {
	const box = byId(id);
	const turned = shown.get(id) !== conversation + as;
	const follows = turned || atEnd(box);
	shown.set(id, conversation + as);
	sync(box, list.length || !empty ? list : [{key: 'empty', version: '', make: () => el('p', {class: 'empty'}, empty)}]);
	if (follows) {
		toEnd(box);
	}
}

const atEnd = box => box.scrollHeight - box.scrollTop - box.clientHeight < 80;

function toEnd(box) {
	box.scrollTop = box.scrollHeight;
}

// stick keeps a list at its end when the room for it changes.
function stick(box) {
	let end = true;
	box.addEventListener('scroll', () => {
		end = atEnd(box);
	});
	new ResizeObserver(() => end && toEnd(box)).observe(box);
}

const composers = {
	list: new Composer(byId('list-composer'), {who: () => as, sent: () => scrollDown('list-messages')}),
	thread: new Composer(byId('thread-composer'), {
		who: () => as,
		sent: text => {
			scrollDown('thread-messages');
			if (text.startsWith('!')) {
				dismissHint();
			}
		},
	}),
};

function scrollDown(id) {
	shown.delete(id); // the next fill goes to the end
}

const hintDone = () => sessionStorage.getItem('hint') === 'done';

function dismissHint() {
	sessionStorage.setItem('hint', 'done');
	byId('hint').hidden = true;
}

function wire() {
	byId('to-places').append(icon('back'));
	byId('to-list').append(icon('back'));
	byId('close').append(icon('close'));
	byId('widen').append(icon('widen'));
	byId('hint-close').append(icon('close'));
	byId('widen').addEventListener('click', () => byId('widen').setAttribute('aria-pressed', document.body.classList.toggle('wide')));
	byId('hint-close').addEventListener('click', () => {
		dismissHint();
		composers.thread.focus();
	});
	byId('hint-use').addEventListener('click', () => composers.thread.put(byId('hint-command').textContent));
	byId('person').addEventListener('change', e => {
		become(e.target.value);
		connect();
	});
	stick(byId('list-messages'));
	stick(byId('thread-messages'));
	addEventListener('hashchange', () => {
		render();
		if (document.body.dataset.view !== 'places') {
			composers[place.thread ? 'thread' : 'list'].focus();
		}
	});
	document.addEventListener('keydown', e => {
		if (e.key === 'Escape' && place.thread) {
			location.hash = address(place.channel);
		}
	});
}

// first chooses what to open: the first channel and the incident in it, which
// is the first message that has a thread.
function first() {
	const channel = workspace.channels.keys().next().value;
	const all = sorted(channel);
	const roots = all.filter(m => !isReply(m) && !m.only_you);
	const incident = roots.find(m => threadOf(all, m.ts).length) ?? roots[0];
	history.replaceState(null, '', location.pathname + location.search + address(channel ?? '', incident?.ts));
}

async function start() {
	wire();
	await load();
	if (!location.hash) {
		first();
	}
	render();
	if (place.thread) {
		composers.thread.focus();
	}
	connect();
}

start().catch(() => {
	byId('offline').hidden = false;
	setTimeout(() => location.reload(), 2000);
});
