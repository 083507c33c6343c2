export class Refused extends Error {} // the input cannot be answered; the message says why
export class Overtaken extends Error {} // the reader has stopped it, or has asked for something else meanwhile
