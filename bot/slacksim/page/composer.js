// The box that messages are typed into.
import {el, icon} from './draw.js';

export class Composer {
	#to = {channel: '', thread: ''};
	#drafts = new Map(); // conversation -> text that was not sent
	#box = el('textarea', {rows: 1, maxlength: 40000, autocomplete: 'off', autocapitalize: 'none', spellcheck: false, enterkeyhint: 'send'});
	#problem = el('p', {class: 'problem', role: 'alert', hidden: true});
	#who;
	#sent;

	// who tells as whom; sent is called with what was sent.
	constructor(form, {who, sent}) {
		this.#who = who;
		this.#sent = sent;
		const send = el('button', {class: 'send', title: 'Send (Enter)', 'aria-label': 'Send'}, icon('send'));
		form.append(this.#problem, el('div', {class: 'field'}, this.#box, send), el('p', {class: 'keys soft'}, 'Enter sends · Shift+Enter for a new line'));
		form.addEventListener('submit', e => {
			e.preventDefault();
			this.#send();
		});
		this.#box.addEventListener('input', () => this.#grow());
		this.#box.addEventListener('keydown', e => {
			if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
				e.preventDefault();
				this.#send();
			}
		});
	}

	// aim says where what is typed goes to.
	aim(channel, thread, placeholder) {
		this.#box.placeholder = placeholder;
		this.#box.setAttribute('aria-label', placeholder);
		if (this.#to.channel === channel && this.#to.thread === thread) {
			return;
		}
		this.#drafts.set(this.#key(), this.#box.value);
		this.#to = {channel, thread};
		this.#box.value = this.#drafts.get(this.#key()) ?? '';
		this.#complain('');
		this.#grow();
	}

	// put puts text into the box, for the person to send.
	put(text) {
		this.#box.value = text;
		this.#grow();
		this.focus();
	}

	focus() {
		this.#box.focus();
		this.#box.setSelectionRange(this.#box.value.length, this.#box.value.length);
	}

	#key() {
		return this.#to.channel + '/' + this.#to.thread;
	}

	#grow() {
		this.#box.style.height = 'auto';
		this.#box.style.height = this.#box.scrollHeight + 'px';
	}

	#complain(problem) {
		this.#problem.textContent = problem;
		this.#problem.hidden = !problem;
	}

	async #send() {
		const text = this.#box.value;
		if (!text.trim()) {
			return;
		}
		this.put('');
		this.#complain('');
		this.#sent(text);
		const to = this.#to;
		const problem = await say({as: this.#who(), ...to, text});
		if (problem && to === this.#to) {
			this.#complain(problem);
			this.put(this.#box.value || text);
		}
	}
}

// say says something in the workspace, and returns why it could not.
async function say(what) {
	try {
		const answer = await fetch('/page/say', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify(what)});
		return answer.ok ? '' : await answer.text();
	} catch (e) {
		return 'The simulator does not answer: ' + e.message;
	}
}
