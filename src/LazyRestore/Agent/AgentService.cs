using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using PostCopy.Buffers;
using PostCopy.Certificates;
using PostCopy.Transport;
using PostCopy.Trees;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>
/// The destination's agent: listens, lets in who knows the token, and hands each lane to its session. Made by <see cref="AgentServiceCollectionExtensions.AddPostCopyAgent"/>;
/// a program asks its host's services for it to know where it listens.
/// </summary>
public sealed class AgentService(IOptions<AgentOptions> options, ILogger<AgentService> logger) : BackgroundService
{
    /// <summary>Connections that may be opening at once. Each costs a thread for at most ten seconds.</summary>
    private const int MaxOpenings = 64;

    private const int Backlog = 128;

    /// <summary>Between two looks at what nobody works on.</summary>
    private static readonly TimeSpan AttendEvery = TimeSpan.FromSeconds(2);

    /// <summary>Before the next try when the system has no descriptor or memory for another connection.</summary>
    private static readonly TimeSpan AcceptBackOff = TimeSpan.FromMilliseconds(100);

    private readonly AgentOptions _options = Checked(options.Value);
    private readonly ConcurrentDictionary<SessionToken, AgentSession> _sessions = new();
    private readonly PagePool _pool = new();
    private readonly Lock _admission = new();
    private readonly Openings _openings = new(MaxOpenings);
    private readonly RefusalLog _refusals = new(logger);
    private readonly SemaphoreSlim _judging = new(1);
    private readonly Unattended _unattended = new(options.Value, logger);
    private Renewed<TlsAccepting>? _tls;
    private Renewed<AgentToken>? _token;
    private Socket? _listener;
    private string? _boundPath;
    private bool _stopping;

    /// <summary>Where it listens, with the port that the kernel chose where <see cref="AgentOptions.Listen"/> says 0; null before it is started.</summary>
    public EndPoint? LocalEndPoint { get; private set; }

    private static AgentOptions Checked(AgentOptions options)
    {
        options.RequireSense();
        return options;
    }

    /// <summary>Binds before the host reports itself started, so that whoever waits for that can connect.</summary>
    /// <exception cref="AgentStartException">It cannot listen there, or is not to: the message says why.</exception>
    public override async Task StartAsync(CancellationToken cancellationToken)
    {
        AgentEndpoint listen = _options.Listen;
        LoadTls();
        if (_tls is null && !listen.IsLocal && !_options.Insecure)
        {
            throw new AgentStartException($"{listen} can be reached from other machines, and connections are not encrypted. Give this host a certificate (postcopy certs), listen on 127.0.0.1 or unix:PATH behind a tunnel, or say --insecure");
        }

        if (_options.OnLoss == LossPolicy.Poison && !PoisonSupport.IsHere)
        {
            throw new AgentStartException($"--on-loss poison: {PoisonSupport.Needs} Say --on-loss stall, or kill");
        }

        if (listen.UnixPath is null)
        {
            LoadToken();
        }

        if (_options.Insecure && _tls is null)
        {
            AgentLog.Insecure(logger, _options.TokenFile);
        }

        try
        {
            EndPoint[] endpoints = await listen.ResolveAsync(cancellationToken).ConfigureAwait(false);
            // Whose place is taken must not touch what belongs to whoever has it.
            _listener = Bind(endpoints[0]);
            LocalEndPoint = _listener.LocalEndPoint;
            // Before it listens, so that a source that comes back finds its session.
            TakeOverUnattended();
            _listener.Listen(Backlog);
        }
        catch (SocketException e)
        {
            throw new AgentStartException($"cannot listen on {listen}: {e.Message}", e);
        }

        TreeCgroup.RemoveUnused();
        AgentLog.Listening(logger, _listener.LocalEndPoint is IPEndPoint ip ? ip.ToString() : listen.ToString());
        await base.StartAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using CancellationTokenSource over = new();
        using CancellationTokenSource unattended = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
        Task accepting = AcceptAllAsync(over.Token);
        Task attending = AttendAsync(unattended.Token);
        await Task.WhenAny(accepting, attending).ConfigureAwait(false);
        await unattended.CancelAsync().ConfigureAwait(false);
        await attending.ConfigureAwait(false);
        // Asked to stop: no new sessions; those that are here come to their end first, and their sources may have to connect anew for that.
        lock (_admission)
        {
            _stopping = true;
            foreach (AgentSession session in _sessions.Values)
            {
                session.AskToStop();
            }
        }

        AgentLog.Stopping(logger, _sessions.Count);
        await Task.WhenAll(_sessions.Values.Select(static session => session.Ended)).ConfigureAwait(false);
        await over.CancelAsync().ConfigureAwait(false);
        await accepting.ConfigureAwait(false);
        _listener!.Dispose();
        TreeCgroup.RemoveUnused();
    }

    private async Task AttendAsync(CancellationToken over)
    {
        using PeriodicTimer timer = new(AttendEvery);
        try
        {
            while (await timer.WaitForNextTickAsync(over).ConfigureAwait(false))
            {
                TakeOverUnattended();
            }
        }
        catch (OperationCanceledException)
        {
            // Whatever nobody works on now is the next agent's.
        }
    }

    private void TakeOverUnattended()
    {
        try
        {
            foreach (AgentSession session in _unattended.TakeOver(name => _sessions.Keys.Any(known => known.Name == name)))
            {
                _sessions[session.Token] = session;
                _ = RunAsync(session, session.RunRecoveredAsync);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            AgentLog.CannotTakeOver(logger, _options.StateDirectory, e.Message);
        }
    }

    private async Task AcceptAllAsync(CancellationToken over)
    {
        try
        {
            while (true)
            {
                await AcceptAsync(over).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // No session is left that a source could come back to.
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        base.Dispose();
        _listener?.Dispose();
        _pool.Dispose();
        _judging.Dispose();
        if (_boundPath is { } path)
        {
            File.Delete(path);
        }
    }

    private void LoadTls()
    {
        if (_options.Tls is { } files && _options.Listen.UnixPath is null)
        {
            try
            {
                string[] allowed = [.. _options.AllowedNames.Select(static name => HostName.RequireNameOrAddress(name, "--allow"))];
                _tls = new Renewed<TlsAccepting>(
                    () => new TlsAccepting(TlsIdentity.Load(files), allowed),
                    tls => AgentLog.Renewed(logger, tls.Identity.Names),
                    reason => AgentLog.NotRenewed(logger, reason),
                    files.Authority,
                    files.Certificate,
                    files.Key);
            }
            catch (CertificateException e)
            {
                throw new AgentStartException(e.Message, e);
            }

            TlsAccepting tls = _tls.Current;
            AgentLog.Encrypted(logger, tls.Identity.Names, tls.Allowed.Count > 0 ? string.Join(", ", tls.Allowed) : "every host of the authorities");
        }
        else if (_options.AllowedNames.Count > 0)
        {
            throw new AgentStartException("--allow names who may connect, but without certificates nobody can prove a name: give this host one (postcopy certs)");
        }
    }

    private void LoadToken()
    {
        try
        {
            if (AgentToken.CreateUnlessThere(_options.TokenFile))
            {
                AgentLog.TokenCreated(logger, _options.TokenFile);
            }

            _token = new Renewed<AgentToken>(
                () => AgentToken.Load(_options.TokenFile),
                _ => AgentLog.TokenRenewed(logger, _options.TokenFile),
                reason => AgentLog.TokenNotRenewed(logger, reason),
                _options.TokenFile);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new AgentStartException(e.Message, e);
        }
    }

    private async Task AcceptAsync(CancellationToken stopping)
    {
        Socket socket;
        try
        {
            socket = await _listener!.AcceptAsync(stopping).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            // One connection's misfortune, or too many of them (accept(2)): no reason to leave the containers that are here.
            AgentLog.AcceptFailed(logger, e.Message);
            await Task.Delay(AcceptBackOff, stopping).ConfigureAwait(false);
            return;
        }

        SocketLane lane = new(socket, _pool);
        LinkedListNode<SocketLane> place = _openings.Enter(lane);
        new Thread(() => Open(socket, lane, place)) { IsBackground = true, Name = "opening" }.Start();
    }

    private Socket Bind(EndPoint endpoint)
    {
        Socket listener = LaneSocket.Create(endpoint);
        if (endpoint is UnixDomainSocketEndPoint unix)
        {
            string path = unix.ToString();
            Directory.CreateDirectory(Path.GetDirectoryName(path)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            if (File.Exists(path))
            {
                // A dead agent's socket is in the way, a living one's is not ours to remove.
                using Socket probe = LaneSocket.Create(endpoint);
                try
                {
                    probe.Connect(endpoint);
                    throw new AgentStartException($"another agent listens on unix:{path}");
                }
                catch (SocketException)
                {
                    File.Delete(path);
                }
            }

            listener.Bind(endpoint);
            _boundPath = path;
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }
        else
        {
            // Not with SocketOptionName.ReuseAddress: it sets SO_REUSEPORT too, and two agents would share the port unnoticed. Bind alone allows
            // for connections of an earlier agent in TIME_WAIT.
            listener.Bind(endpoint);
        }

        return listener;
    }

    private void Open(Socket socket, SocketLane lane, LinkedListNode<SocketLane> place)
    {
        try
        {
            (LaneHello hello, byte[] proof) = LaneOpening.Accept(lane, _token?.Current ?? AgentToken.None, tls: _tls?.Current);
            LaneSocket.Tune(socket, hello.Role, congestionControl: null);
            _openings.Leave(place);
            Admit(lane, hello, proof);
        }
        catch (ProtocolException e)
        {
            _openings.Leave(place);
            _refusals.Write(lane.Peer, e.Message);
            LaneOpening.Refuse(lane, e);
            lane.Dispose();
        }
        catch (SocketException e)
        {
            _openings.Leave(place);
            _refusals.Write(lane.Peer, e.Message);
            lane.Dispose();
        }
        catch (Exception e)
        {
            // Nothing is above this thread, and whatever comes of what a stranger sends must not end the agent.
            _openings.Leave(place);
            _refusals.Write(lane.Peer, e.Message);
            LaneOpening.Refuse(lane, new ProtocolException(WireErrorCode.Internal, "the agent failed to open this lane: see its log"));
            lane.Dispose();
        }
    }

    private void Admit(SocketLane lane, LaneHello hello, byte[] proof)
    {
        if (hello.Role != LaneRole.Control)
        {
            AgentSession owner = _sessions.TryGetValue(hello.Session, out AgentSession? found)
                ? found
                : throw Unknown(hello.Session);
            owner.Attach(hello.Role, hello.Epoch, lane, proof);
            return;
        }

        if (_sessions.TryGetValue(hello.Session, out AgentSession? known))
        {
            known.Reattach(hello.Epoch, lane, proof);
            return;
        }

        if (hello.Epoch != LaneHello.FirstEpoch)
        {
            throw Unknown(hello.Session);
        }

        AgentSession session = new(hello.Session, _options, logger)
        {
            Judging = _judging,
            PromisedToOthers = () => _sessions.Values.Where(other => other.Token != hello.Session).Aggregate(0UL, static (sum, other) => sum + Math.Min(other.PromisedBytes, ulong.MaxValue - sum)),
        };
        lock (_admission)
        {
            if (_stopping || _sessions.Count >= _options.MaxSessions)
            {
                throw new ProtocolException(WireErrorCode.Busy, _stopping ? "this agent is being stopped" : $"this agent has {_options.MaxSessions} sessions already, as many as it accepts");
            }

            if (!_sessions.TryAdd(hello.Session, session))
            {
                throw new ProtocolException(WireErrorCode.Taken, "this session has a control lane already");
            }
        }

        try
        {
            LaneOpening.Acknowledge(lane, proof);
        }
        catch
        {
            _sessions.TryRemove(session.Token, out _);
            session.NeverBegan();
            throw;
        }

        _ = RunAsync(session, () => session.RunAsync(lane));
    }

    /// <summary>"There is none" must not be said where the container may run: whoever hears it may let another copy run.</summary>
    private ProtocolException Unknown(SessionToken session) => _unattended.Has(session)
        ? new ProtocolException(WireErrorCode.Internal, $"this host has files of that session ({session.Name}) which no agent works on: see the agent's log there for why")
        : new ProtocolException(WireErrorCode.Session, "there is no such session here");

    private async Task RunAsync(AgentSession session, Func<Task> run)
    {
        try
        {
            await run().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // Nobody awaits this: one session's failure, whatever it is, must be heard and must not touch the others.
            AgentLog.Unexpected(logger, e, session.Token.Name);
        }
        finally
        {
            _sessions.TryRemove(session.Token, out _);
        }
    }
}
