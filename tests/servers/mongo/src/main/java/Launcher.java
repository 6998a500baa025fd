import de.bwaldvogel.mongo.MongoBackend;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import java.util.List;

/** Serves MongoDB's wire protocol: {@code PORT} in memory, {@code PORT FILE} from a file. */
public final class Launcher {
    public static void main(String[] arguments) {
        int port = Integer.parseInt(arguments[0]);
        MongoBackend backend = arguments.length > 1 ? new Journaled(arguments[1]) : new Memory();
        MongoServer server = new MongoServer(backend.version(new Oldest()));
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
        server.bind("127.0.0.1", port);
    }

    private static final class Memory extends MemoryBackend {
        @Override
        public Document handleMessage(MongoMessage message) {
            translate(message.getDocument());
            return super.handleMessage(message);
        }
    }

    /** Writes to the file before it answers, as a write concern with {@code j: true} promises.
     *
     * H2 alone would write once a second. One message at a time, so that no commit takes along
     * the half of another's update.
     */
    private static final class Journaled extends H2Backend {
        Journaled(String file) {
            super(file);
            getMvStore().setAutoCommitDelay(0);
        }

        @Override
        public synchronized Document handleMessage(MongoMessage message) {
            translate(message.getDocument());
            Document answer = super.handleMessage(message);
            commit();
            return answer;
        }
    }

    /** Calls {@code hello} by its old name, the only one that the server knows. */
    private static void translate(Document query) {
        if (query.keySet().iterator().next().equals("hello")) {
            Document rest = query.clone();
            query.clear();
            query.put("isMaster", rest.remove("hello"));
            query.putAll(rest);
        }
    }

    /** MongoDB 4.4, the oldest that the newest drivers talk to; the server's own answer is 4.2. */
    private static final class Oldest implements MongoVersion {
        @Override
        public List<Integer> getVersionArray() {
            return List.of(4, 4, 0);
        }

        @Override
        public int getWireVersion() {
            return 9;
        }
    }
}
